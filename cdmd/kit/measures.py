"""Numbers of bytes and lengths of time as people read them, in terminals and on pages alike. Pure.

Not here: how they are written in the configuration (``quantities``).
"""

import re
from typing import Final

_KIB: Final = 1024
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_LAST: Final = re.compile(r"(ies|s)\b")


def size(count: float) -> str:
    """Bytes with a unit."""
    amount, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while amount >= _KIB and len(units) > 1:
        amount, units = amount / _KIB, units[1:]
    return f"{amount:.0f} {units[0]}" if units[0] == "B" or amount >= 10 else f"{amount:.1f} {units[0]}"  # noqa: PLR2004


def several(count: int, things: str) -> str:
    """So many of them: ``things`` is the plural of something whose first word ends in -s or -ies."""
    return f"{count} {_LAST.sub(lambda found: 'y' if found[0] == 'ies' else '', things, count=1) if count == 1 else things}"


def span(seconds: float) -> str:
    """A length of time in its largest fitting unit."""
    for unit, length in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    if seconds and seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s".replace(".0 ", " ")  # noqa: PLR2004
