"""What is kept of a customer."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from cdmd.models.arriving import Event
from cdmd.models.outcomes import Extended
from cdmd.models.times import Micros, ProfileKey, Seq


class IdentifierState(msgspec.Struct, array_like=True, gc=False):
    """One identifier of a profile (times in microseconds). A ``derived`` one never arrived: it is a digest of one that did."""

    kind: str
    value: str
    first_seen: int
    last_seen: int
    source: str
    derived: bool = False


class TraitState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A trait's value as of an effective time, and who said so (if that is known); None means removed as of then."""

    value: Any
    time: int
    seq: int
    source: str = ""


class IndicatorState(msgspec.Struct, array_like=True, gc=False):
    """What an activity indicator has accumulated (see ``cdmd.profiles.indicators``); ``parts`` by the bucket of its window."""

    definition: int
    count: int = 0
    total: float = 0.0
    least: float | None = None
    greatest: float | None = None
    first: TraitState | None = None
    last: TraitState | None = None
    values: tuple[int, ...] = ()
    rest: tuple[float, ...] = ()
    squares: tuple[float, ...] = ()
    parts: "dict[int, IndicatorState]" = {}


class ProfileState(msgspec.Struct, array_like=True, gc=False):
    """A profile as one packed row of the store. ``members`` are the profiles merged into it, ``merged_into`` its winner.

    ``audiences``: since when it is in each; ``judged``: as of when that was decided; ``due``: when the clock may change it.
    ``apart``: what it must not be joined with (see ``cdmd.identity.keeping_apart``). ``purposes``: whether each was granted,
    ``restricted``: whether it is stored and not used, with who said so and when.
    """

    public: str
    created: int
    updated: int
    identifiers: list[IdentifierState] = []
    traits: dict[str, TraitState] = {}
    indicators: dict[str, IndicatorState] = {}
    members: list[int] = []
    merged_into: int | None = None
    audiences: dict[str, int] = {}
    judged: int = 0
    due: int | None = None
    apart: list[tuple[int, int]] = []
    purposes: dict[str, TraitState] = {}
    restricted: TraitState | None = None

    def allows(self, purposes: Sequence[str]) -> bool:
        """Whether it may be used, for all of these purposes."""
        if self.restricted is not None and self.restricted.value:
            return False
        return not purposes or all(name in self.purposes and self.purposes[name].value for name in purposes)


class Merge(msgspec.Struct, frozen=True, kw_only=True):
    """Why two profiles became one: the event, the identifiers that joined them, and the loser as it was."""

    seq: Seq
    time: Micros
    winner: ProfileKey
    loser: ProfileKey
    identifiers: Sequence[tuple[str, str]]
    rule: str
    before: ProfileState


class Activity(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is kept of an applied event; ``profile`` is None where nobody could be named. ``time`` is the effective time."""

    seq: Seq
    profile: ProfileKey | None
    time: Micros
    event: Event
    rule: str
    trace: Sequence[Extended] = ()
    clock_ahead: bool = False


class PackedActivity(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an activity's row holds besides its columns."""

    event: Event
    rule: str
    trace: Sequence[Extended] = ()
    clock_ahead: bool = False


_PACK: Final = msgspec.msgpack.Encoder().encode
_ACTIVITY: Final = msgspec.msgpack.Decoder(PackedActivity)
_PROFILE: Final = msgspec.msgpack.Decoder(ProfileState)


def pack_profile(state: ProfileState) -> bytes:
    """The body of its row."""
    return _PACK(state)


def unpack_profile(body: bytes) -> ProfileState:
    """What ``pack_profile`` made. Raises msgspec.DecodeError or msgspec.ValidationError on anything else, as both do."""
    return _PROFILE.decode(body)


def pack_activity(event: Event, rule: str, trace: Sequence[Extended] = (), *, clock_ahead: bool = False) -> bytes:
    """The body of its row."""
    return _PACK(PackedActivity(event, rule, trace, clock_ahead))


def unpack_activity(body: bytes) -> PackedActivity:
    """What ``pack_activity`` made."""
    return _ACTIVITY.decode(body)


class Notice(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A profile entered an audience, or left it; ``id`` is computed, ``reason`` holds no personal data."""

    id: str
    audience: str
    profile: ProfileKey
    public: str
    entered: bool
    at: Micros
    reason: str
