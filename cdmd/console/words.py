"""Numbers, times and values as people read them. Pure; whatever it makes is text, which the templates escape."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

_KIB: Final = 1024
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_NONE: Final = "\N{EN DASH}"
_SHAPES: Final = {
    "running": ("●", "well"),
    "enabled": ("●", "well"),
    "active": ("●", "well"),
    "applied": ("●", "well"),
    "delivered": ("●", "well"),
    "done": ("●", "well"),
    "complete": ("●", "well"),
    "starting": ("○", "calm"),
    "draining": ("○", "calm"),
    "accepted": ("○", "calm"),
    "started": ("●", "well"),
    "restarted": ("●", "well"),
    "stopped": ("◌", "calm"),
    "quarantined": ("■", "bad"),
    "set-aside": ("■", "bad"),
    "attempted": ("◐", "warn"),
    "queued": ("○", "calm"),
    "decided": ("○", "calm"),
    "waiting": ("○", "calm"),
    "filtered": ("○", "calm"),
    "suppressed": ("○", "calm"),
    "unchanged": ("○", "calm"),
    "disabled": ("◌", "calm"),
    "gone": ("◌", "calm"),
    "paused": ("◐", "warn"),
    "parked": ("◐", "warn"),
    "held": ("◐", "warn"),
    "later": ("◐", "warn"),
    "degraded": ("▲", "warn"),
    "late": ("▲", "warn"),
    "bad config": ("■", "bad"),
    "load error": ("■", "bad"),
    "failed": ("■", "bad"),
    "failing": ("■", "bad"),
    "dead-letter": ("■", "bad"),
    "never": ("■", "bad"),
    "refused": ("■", "bad"),
}


def shape(state: str) -> tuple[str, str]:
    """The mark that stands beside the word of a state, and its class: no state is told by colour alone."""
    word = state.partition(":")[0]
    return _SHAPES.get(word, ("○", "calm"))


def number(value: float | None) -> str:
    """A count with thin spaces between thousands."""
    if value is None:
        return _NONE
    return f"{value:,.0f}".replace(",", "\u202f")


def rate(value: float | None) -> str:
    """So many a second, with as many decimals as say something."""
    if value is None:
        return _NONE
    return f"{number(value)}/s" if value >= 10 or value == 0 else f"{value:.1f}/s" if value >= 0.1 else f"{value * 60:.1f}/min"  # noqa: PLR2004 - steps of reading


def size(count: float | None) -> str:
    """Bytes with a unit."""
    if count is None:
        return _NONE
    amount, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while amount >= _KIB and len(units) > 1:
        amount, units = amount / _KIB, units[1:]
    return f"{amount:.0f} {units[0]}" if units[0] == "B" or amount >= 10 else f"{amount:.1f} {units[0]}"  # noqa: PLR2004


def span(seconds: float | None) -> str:
    """A length of time in its largest fitting unit."""
    if seconds is None:
        return _NONE
    for unit, length in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    if seconds and seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s".replace(".0 ", " ")  # noqa: PLR2004


def moment(text: str | None) -> datetime | None:
    """A time as the control API writes it."""
    return None if text is None else datetime.fromisoformat(text)


def clock_time(text: str | None) -> str:
    """Date and time of day in UTC, to the second."""
    at = moment(text)
    return _NONE if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def ago(text: str | None, now: datetime) -> str:
    """How long before ``now``, or how long until then."""
    at = moment(text)
    if at is None:
        return _NONE
    seconds = (now - at).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"{span(seconds)} ago" if seconds > 0 else f"in {span(-seconds)}"


def plain(value: Any) -> str:
    """A customer's value in one line: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def document(value: Any) -> str:
    """A document as indented JSON."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def leaves(table: Mapping[str, Any], path: str = "") -> list[tuple[str, str]]:
    """Every key below ``table`` with its value as JSON, in their order."""
    found = list[tuple[str, str]]()
    for key, value in table.items():
        place = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping) and value:
            found += leaves(value, place)
        else:
            found.append((place, json.dumps(value, ensure_ascii=False)))
    return found
