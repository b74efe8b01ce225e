"""Numbers, times and values as people read them. Pure; whatever it makes is text, which the templates escape."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from cdmd.kit import measures

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
    return _NONE if count is None else measures.size(count)


def span(seconds: float | None) -> str:
    """A length of time in its largest fitting unit."""
    return _NONE if seconds is None else measures.span(seconds)


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
