"""When a delivery is tried again, and what becomes of it when it is not. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from cdmd.kit.logs import escaped
from cdmd.models import Attempt, Delivered, Delivery, DeliveryVerdict, Gone, Later, Micros, Never, Settled, to_micros

LONGEST: Final = 24 * 3600 * 1_000_000
_SPREAD: Final = 0.2
_LONGEST_REASON: Final = 200
_LONGEST_ANSWER: Final = 4_096
_OUTCOMES: Final = {Delivered: "delivered", Later: "later", Never: "never", Gone: "gone"}
_FIELDS: Final = {"status": int | None, "answer": bytes, "reason": str, "at": datetime | None}
"""Of a verdict, those that are not bool."""

_LARGEST: Final = 2**31


def sound(said: object) -> DeliveryVerdict | None:
    """The verdict, its reason as it can be kept and shown; None for what could be neither compared nor kept.

    Whoever makes one is not held to the types of its fields.
    """
    if type(said) not in _OUTCOMES:
        return None
    verdict: Any = said
    if not all(isinstance(getattr(verdict, name), _FIELDS.get(name, bool)) for name in verdict.__struct_fields__):
        return None
    at, reason = getattr(verdict, "at", None), getattr(verdict, "reason", "")
    if (at is not None and at.utcoffset() is None) or not -_LARGEST < (verdict.status or 0) < _LARGEST:
        return None
    plain = reason.isprintable() and len(reason) <= _LONGEST_REASON
    kept: DeliveryVerdict = (
        verdict if plain else msgspec.structs.replace(verdict, reason=escaped(reason, longest=_LONGEST_REASON))
    )
    return kept


def due_after(waits: Sequence[float], failed: int, now: Micros, *, chance: float) -> Micros | None:
    """When to try again after ``failed`` attempts, by ``waits`` (seconds, spread by a fifth); None: there are no more."""
    if failed >= len(waits):
        return None
    spread = 1.0 - _SPREAD + 2 * _SPREAD * chance
    return Micros(now + round(waits[failed] * spread * 1_000_000))


def settled(
    delivery: Delivery,
    verdict: DeliveryVerdict,
    *,
    waits: Sequence[float],
    now: Micros,
    seconds: float,
    chance: float,
    bodies: bool,
) -> Settled:
    """What becomes of the delivery after an attempt that took ``seconds``; ``bodies``: its content is kept with it."""
    number = delivery.attempts + 1
    reason = "" if isinstance(verdict, Delivered) else verdict.reason[:_LONGEST_REASON]
    due, failed = None, False
    match verdict:
        case Delivered():
            pass
        case Never():
            failed = True
        case Gone():
            due, number = now, delivery.attempts
        case Later():
            if not verdict.counts:
                number = delivery.attempts
            due = due_after(waits, max(number, 1), now, chance=chance)
            if not verdict.counts and due is None:
                due = Micros(now + round(waits[-1] * 1_000_000))
            if due is not None and verdict.at is not None:
                due = Micros(min(max(to_micros(verdict.at), now), now + LONGEST))
            failed = due is None
    attempt = Attempt(
        at=now,
        target=delivery.target,
        id=delivery.id,
        type=delivery.type,
        attempt=number,
        outcome=_OUTCOMES[type(verdict)],
        profile=delivery.profile,
        seq=delivery.seq,
        seconds=round(seconds, 6),
        status=verdict.status,
        reason=reason,
        body=delivery.body if bodies else None,
        answer=verdict.answer[:_LONGEST_ANSWER] if bodies else None,
    )
    return Settled(delivery=delivery, attempt=attempt, due=due, failed=failed)
