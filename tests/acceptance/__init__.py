"""The real daemon as a process: loaded, killed, cut off from its disk, and looked at afterwards."""
