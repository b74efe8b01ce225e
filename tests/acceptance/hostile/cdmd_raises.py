"""Raises while it is imported, with somebody's data in its message."""

raise RuntimeError("joe@example.com")
