"""Registers what is none."""

import cdmd


@cdmd.hookimpl
def cdmd_extensions():
    return ["joe@example.com", None, 5]
