"""The frame: what the whole daemon is configured with, how it is loaded, and where secrets come from."""
