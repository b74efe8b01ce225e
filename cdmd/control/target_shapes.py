"""The shapes that the control socket speaks about targets and deliveries (see ``protocol``)."""

from datetime import datetime
from typing import Any

import msgspec


class _Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON object; fields may be added, never renamed."""


class TargetRow(_Shape, frozen=True, kw_only=True):
    """One target: how its endpoint is, what waits for it, and all that ever became of its deliveries, exact over restarts.

    ``state`` is active, paused (it asked to wait, or did not answer), failing (one at a time tries), disabled, or gone (no
    longer configured); ``reason`` says why, ``next`` when it is tried again. ``dropped`` had no room (since ``full_since``
    while that lasts); ``failed`` are set aside; ``untold`` were not sent because the condition failed or a purpose was not
    granted, as ``fault`` says. ``node`` is who sends, where several nodes divide the targets among themselves.
    """

    name: str
    type: str | None = None
    state: str
    reason: str | None = None
    since: datetime | None = None
    next: datetime | None = None
    failing_since: datetime | None = None
    last_success: datetime | None = None
    waiting: int = 0
    waiting_bytes: int = 0
    failed: int = 0
    delivered: int = 0
    attempts: int = 0
    never: int = 0
    dropped: int = 0
    full_since: datetime | None = None
    untold: int = 0
    fault: str | None = None
    detail: str | None = None
    node: str | None = None


class DeliveryRow(_Shape, frozen=True, kw_only=True):
    """A delivery that waits or was set aside (``state``), and nothing of its content.

    ``due`` is None where it waits for one before it.
    """

    id: str
    target: str
    type: str
    state: str
    since: datetime
    due: datetime | None = None
    attempts: int = 0
    reason: str | None = None
    bytes: int = 0


class AttemptRow(_Shape, frozen=True, kw_only=True):
    """One attempt: ``outcome`` is delivered, later, never or gone; what was sent and answered only where that is kept."""

    time: datetime
    target: str
    id: str
    type: str
    attempt: int
    outcome: str
    status: int | None = None
    seconds: float = 0.0
    reason: str | None = None
    body: Any = None
    answer: str | None = None


class DeliveryShown(_Shape, frozen=True, kw_only=True):
    """Everything that is known of a delivery; ``body`` (what is sent) only when it was revealed."""

    id: str
    queued: list[DeliveryRow]
    attempts: list[AttemptRow]
    body: Any = None


class Tried(_Shape, frozen=True, kw_only=True):
    """What a target said to a sample."""

    target: str
    outcome: str
    status: int | None = None
    seconds: float = 0.0
    reason: str | None = None
    answer: str | None = None
