"""Raises what Ctrl-C raises when the daemon starts and when it stops."""

import cdmd


@cdmd.hookimpl
async def cdmd_startup():
    raise KeyboardInterrupt("joe@example.com")


@cdmd.hookimpl
def cdmd_shutdown():
    raise SystemExit("joe@example.com")
