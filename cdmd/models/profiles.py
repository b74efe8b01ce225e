"""What is kept of a customer."""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

import msgspec
from typing_extensions import override

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


def copied(state: ProfileState) -> ProfileState:
    """A copy that shares only what is replaced, never altered."""
    return msgspec.structs.replace(
        state,
        identifiers=list(state.identifiers),
        traits=dict(state.traits),
        indicators=dict(state.indicators),
        members=list(state.members),
    )


class Profiles(MutableMapping[ProfileKey, ProfileState]):
    """Profiles by key: each is one of the ``states``, or is made anew from the body of its row whenever it is asked for.

    A profile is some fifty objects. Those of a batch are far from the processor by the time that they are looked at, written
    and given back; a body is one, and what is made of it goes while it is near (tests/bench/growth.py). ``bodies`` are of
    profiles that are merged into no other, each with the public id.
    """

    __slots__ = ("bodies", "states")

    def __init__(self, states: Mapping[ProfileKey, ProfileState] | None = None) -> None:
        self.states: dict[ProfileKey, ProfileState] = dict(states or {})
        self.bodies: dict[ProfileKey, tuple[str, bytes]] = {}

    @classmethod
    def of(cls, profiles: Mapping[ProfileKey, ProfileState]) -> "Profiles":
        """The same, if it is no such mapping."""
        return profiles if isinstance(profiles, Profiles) else cls(profiles)

    @override
    def __getitem__(self, key: ProfileKey) -> ProfileState:
        state = self.states.get(key)
        return unpack_profile(self.bodies[key][1]) if state is None else state

    @override
    def __setitem__(self, key: ProfileKey, state: ProfileState) -> None:
        self.bodies.pop(key, None)
        self.states[key] = state

    @override
    def __delitem__(self, key: ProfileKey) -> None:
        if self.bodies.pop(key, None) is None:
            del self.states[key]

    @override
    def __contains__(self, key: object) -> bool:
        return key in self.states or key in self.bodies

    @override
    def __iter__(self) -> Iterator[ProfileKey]:
        yield from self.states
        yield from self.bodies

    @override
    def __len__(self) -> int:
        return len(self.states) + len(self.bodies)

    def pack(self, key: ProfileKey) -> None:
        """Keep no more than its body of one that is merged into no other."""
        state = self.states.pop(key)
        self.bodies[key] = state.public, pack_profile(state)

    def lay(self, over: "Profiles") -> None:
        """What these are is what ``over`` says, where it says something."""
        for key in over.states.keys() & self.bodies.keys():
            del self.bodies[key]
        for key in over.bodies.keys() & self.states.keys():
            del self.states[key]
        self.states |= over.states
        self.bodies |= over.bodies

    def among(self, keys: AbstractSet[ProfileKey]) -> "Profiles":
        """Those of ``keys``."""
        found = Profiles({key: state for key, state in self.states.items() if key in keys})
        found.bodies = {key: body for key, body in self.bodies.items() if key in keys}
        return found

    def merged_into(self, key: ProfileKey) -> ProfileKey | None:
        """The profile that it is part of. Raises KeyError for one that is not here."""
        if key in self.bodies:
            return None
        into = self.states[key].merged_into
        return None if into is None else ProfileKey(into)

    def living(self) -> set[ProfileKey]:
        """Those that are merged into no other."""
        return {*self.bodies, *(key for key, state in self.states.items() if state.merged_into is None)}


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
