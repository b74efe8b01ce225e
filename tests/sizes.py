"""How much the tests try: enough to see a mistake in minutes, or what a release is held to."""

import os
from typing import Final

LONG: Final = "CDMD_LONG" in os.environ
"""Whether the long forms are wanted."""


def size(name: str, *, short: int, long: int) -> int:
    """``short``, with ``CDMD_LONG`` set ``long``; the variable ``name`` overrules both."""
    return int(os.environ.get(name, long if LONG else short))
