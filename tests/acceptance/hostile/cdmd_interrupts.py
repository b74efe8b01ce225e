"""Raises what Ctrl-C raises while it is imported."""

raise KeyboardInterrupt("joe@example.com")
