"""The service proven on a real systemd: ``python -m tests.boot`` boots a Debian in a container and installs the package in it.

For before a release; pytest does not collect it. Needs root, debootstrap and systemd-container, and Debian's packages once.
"""
