"""How a target is, as everybody is shown it: one word and why; and what is told of a change of it. Pure.

Put together from what is known of its endpoint, what it says of itself, and whether anything is sent to it at all. Not here:
what an attempt makes of the endpoint (``endpoints``).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from cdmd.models import TargetNote, TargetState


class Standing(NamedTuple):
    """``reason`` is in words for the administrator, and holds no data of customers."""

    state: TargetState
    reason: str | None = None


def standing(note: TargetNote, *, off: str | None, problem: str | None) -> Standing:
    """``off``: why nothing is sent to it at all; ``problem``: what it says of itself, or what ended its task."""
    if off is not None:
        return Standing("disabled", off)
    if note.state == "disabled":
        return Standing("disabled", note.reason)
    if problem is not None:
        return Standing("failing", problem)
    return Standing(note.state, note.reason or None)


def told_of(name: str, kind: str, *, before: Standing, now: Standing) -> Mapping[str, Any]:
    """What others are told of the change."""
    return {"name": name, "type": kind, "state": now.state, "before": before.state, "reason": now.reason}
