"""What leaves: a delivery to a target, what a target says became of it, and what is known of a target."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec

from cdmd.kit.spans import SpanContext
from cdmd.models.times import Micros, ProfileKey, Seq

TargetState: TypeAlias = Literal["active", "paused", "failing", "disabled"]
"""``paused``: asked to wait; ``failing``: only one delivery at a time tries; ``disabled``: nothing is sent until enabled."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One message for one target, minimised, as it is sent on every attempt.

    ``id`` is computed from what it tells and the target's name, so that it is the same whenever it is decided again. ``at`` is
    when what it tells of happened; ``body`` is JSON: ``{"type", "timestamp", "data"}``. ``lane``: those of one lane go one
    after the other (None: in none). ``n`` is its place in the outbox, ``attempts`` how many failed, ``since`` when it was
    written. ``span``: the trace of the event that it tells of.
    """

    id: str
    target: str
    type: str
    at: Micros
    body: bytes
    profile: ProfileKey | None = None
    seq: Seq | None = None
    lane: int | None = None
    n: int = 0
    attempts: int = 0
    since: Micros = Micros(0)
    span: SpanContext | None = None

    @property
    def document(self) -> dict[str, Any]:
        """The body decoded: ``type``, ``timestamp`` and ``data``, which holds ``event``, ``profile`` and what else there is."""
        found: dict[str, Any] = msgspec.json.decode(self.body)
        return found


class Delivered(msgspec.Struct, frozen=True):
    """The target has it. ``status`` is what it said, where it speaks in numbers; ``answer`` the beginning of its answer."""

    status: int | None = None
    answer: bytes = b""


class Later(msgspec.Struct, frozen=True, kw_only=True):
    """Not this time: again at ``at``, by the target's schedule where it is None. ``reason`` holds no data.

    ``holds``: the target as a whole wants no more until then. ``counts``: whether it is one of the attempts that are made at
    most.
    """

    reason: str
    at: datetime | None = None
    holds: bool = False
    counts: bool = True
    status: int | None = None
    answer: bytes = b""


class Never(msgspec.Struct, frozen=True, kw_only=True):
    """The target will not take this one, however often it is tried."""

    reason: str
    status: int | None = None
    answer: bytes = b""


class Gone(msgspec.Struct, frozen=True, kw_only=True):
    """The target is no more: it is disabled, and what waits for it waits on."""

    reason: str
    status: int | None = None
    answer: bytes = b""


DeliveryVerdict: TypeAlias = Delivered | Later | Never | Gone


class Attempt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One attempt as it is kept: ``outcome`` is ``delivered``, ``later``, ``never`` or ``gone``; content only if asked for."""

    at: Micros
    target: str
    id: str
    type: str
    attempt: int
    outcome: str
    profile: ProfileKey | None = None
    seq: Seq | None = None
    seconds: float = 0.0
    status: int | None = None
    reason: str = ""
    body: bytes | None = None
    answer: bytes | None = None


class Settled(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What becomes of a delivery after an attempt: it leaves the outbox, waits until ``due``, or is set aside as ``failed``."""

    delivery: Delivery
    attempt: Attempt
    due: Micros | None = None
    failed: bool = False


class Queued(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery in the outbox: ``due`` is None where it waits for one before it; ``failed`` when it was set aside."""

    delivery: Delivery
    due: Micros | None = None
    failed: Micros | None = None
    reason: str = ""


class TargetTotals(msgspec.Struct, frozen=True, kw_only=True):
    """A target's figures, exact over restarts: what waits, with bytes, and all that ever became of its deliveries.

    ``dropped`` had no room (since ``full_since``, while that lasts), ``failed`` are set aside now, ``untold`` were not sent
    because the condition failed or a purpose was missing.
    """

    name: str
    waiting: int = 0
    bytes: int = 0
    failed: int = 0
    delivered: int = 0
    never: int = 0
    attempts: int = 0
    dropped: int = 0
    full_since: Micros | None = None
    untold: int = 0
    fault: str | None = None


class TargetNote(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of a target's endpoint over restarts. Moments in microseconds.

    ``failing_since``: the first failure after the last success, or after a lull. ``until``: paused, or not tried, before that.
    """

    state: TargetState = "active"
    reason: str = ""
    since: int = 0
    until: int = 0
    failures: int = 0
    failing_since: int | None = None
    last_failure: int | None = None
    last_success: int | None = None


class Bound(msgspec.Struct, frozen=True):
    """How much may wait for a target: deliveries, and bytes of them; and how long (microseconds) each waits before it goes."""

    waiting: int
    bytes: int
    first: int = 0


class Outgoing(msgspec.Struct, kw_only=True):
    """What a batch sends: ``deliveries`` in their order, and for each target why some were not sent, with how many."""

    deliveries: Sequence[Delivery] = ()
    untold: dict[str, tuple[int, str]] = {}
    bounds: dict[str, Bound] = {}
