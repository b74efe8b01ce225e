"""Raises in the hook by which it registers."""

import cdmd


@cdmd.hookimpl
def cdmd_extensions():
    raise KeyboardInterrupt("joe@example.com")
