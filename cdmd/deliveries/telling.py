"""What a batch comes to send, decided event by event: it is the same however the events were cut into batches.

Each delivery is minimised and encoded here, once: that is what is kept and sent. Pure: the states are handed in, and never
altered. Not here: who wants what (``subscribing``), and sending.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec

from cdmd.config.news import CREATED, CROSSED, ENTERED, ERASED, LEFT, MERGED, OF_TARGETS, UPDATED
from cdmd.deliveries.subscribing import Subscription, Subscriptions, Untold
from cdmd.kit.spans import SpanContext
from cdmd.kit.ulid import TIME_CHARACTERS, ulid
from cdmd.models import (
    Delivery,
    Event,
    Merge,
    Micros,
    Notice,
    Outgoing,
    ProfileKey,
    ProfileState,
    Seq,
    from_micros,
    show_time,
)

_ENCODE: Final = msgspec.json.Encoder().encode


class Before(NamedTuple):
    """What a profile was before an event: enough to say what it changed."""

    identifiers: frozenset[tuple[str, str]]
    traits: Mapping[str, Any]
    numbers: Mapping[str, Any]


_NEVER: Final = Micros(0)
_NEW: Final = "new"
"""How the rule of an event begins that made a profile (``cdmd.identity.resolution``)."""

_NOTHING: Final = Before(frozenset(), {}, {})


class Happened(NamedTuple):
    """An applied event: at its place in the journal, effective ``at``, judged as of ``moment`` (its receipt).

    ``rule`` says how its profile was found.
    """

    event: Event
    seq: Seq
    at: Micros
    moment: Micros
    rule: str


class Told(NamedTuple):
    """Something to be sent to whoever wants it: its type, when it happened, what names it, and its data beside the profile."""

    type: str
    at: Micros
    name: str
    seq: Seq | None
    data: dict[str, Any]


def delivery_id(journal_id: str, target: str, told: Told) -> str:
    """A ULID whose time is when it happened, and whose rest is a digest of what is told and to whom: computed, not drawn."""
    named = f"{journal_id}:{target}:{told.type}:{told.name}"
    return ulid(
        0 if told.type == ERASED else told.at, blake2b(named.encode(), digest_size=10, person=b"cdmd delivery").digest()
    )


def ids_at(moment: Micros) -> tuple[str, str]:
    """Between which ids the deliveries lie that tell of what happened in the millisecond of ``moment``."""
    begin = ulid(moment, bytes(10))[:TIME_CHARACTERS]
    return begin, begin + "~"


class Telling:
    """One batch. What is told of no event is judged as of when it happened."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._wanted, self._values = subscriptions, subscriptions.values
        self._deliveries: list[Delivery] = []
        self._untold: dict[str, tuple[int, str]] = {}
        self._compares = bool(subscriptions.news[UPDATED])
        self._before: Mapping[str, Before] = {}
        self._span: SpanContext | None = None

    def outgoing(self) -> Outgoing | None:
        """All of it; None where nothing is sent."""
        if not self._deliveries and not self._untold:
            return None
        return Outgoing(deliveries=self._deliveries, untold=self._untold, bounds=self._wanted.bounds)

    # ---- an event ----------------------------------------------------------------------------------------------------

    def begin(
        self, found: Callable[[], Sequence[ProfileState]], event: Event, moment: Micros, *, span: SpanContext | None = None
    ) -> None:
        """An event is about to be applied: note what the profiles that its identifiers belong to are now, if anybody asks.

        What is told because of it, up to the next one, is part of the trace of ``span``.
        """
        self._span = span
        crossing = self._wanted.thresholds
        if not self._compares and not crossing:
            return
        touched = self._values.touched(event.type)
        if not self._compares:
            touched = [name for name in touched if name in crossing]
        self._before = {
            state.public: Before(
                frozenset([(one.kind, one.value) for one in state.identifiers]),
                dict(state.traits),
                self._values.numbers(state, moment, among=touched) if touched else {},
            )
            for state in found()
        }

    def event(self, happened: Happened, profile: tuple[ProfileKey, ProfileState] | None, merges: Sequence[Merge]) -> None:
        """An applied event, with the profile as it is after it and the ``merges`` that it led to."""
        event, seq, at, moment, rule = happened
        wanted = self._wanted.of(event.type)
        if wanted:
            told = Told(event.type, at, f"{seq}", seq, {})
            for one in wanted:
                self._send(one, told, profile, moment, event=event, at=at)
        if profile is None:
            return
        cause = {"id": event.id, "source": event.source, "type": event.type}
        news, new = self._wanted.news, rule.startswith(_NEW)
        if new and news[CREATED]:
            self._tell(Told(CREATED, moment, f"{seq}", seq, {"cause": cause}), profile, moment)
        for merge in merges if news[MERGED] else ():
            data = {"cause": cause, "merged": {"id": merge.before.public}}
            self._tell(Told(MERGED, moment, f"{seq}:{merge.loser}", seq, data), profile, moment)
        if self._compares or self._wanted.thresholds:
            before = self._before.get(profile[1].public, _NOTHING)
            self._compare(happened, profile, before, cause=cause, whole=bool(merges) or new)

    def _compare(
        self,
        happened: Happened,
        profile: tuple[ProfileKey, ProfileState],
        before: Before,
        *,
        cause: Mapping[str, Any],
        whole: bool,
    ) -> None:
        event, seq, _, moment, _ = happened
        state, news = profile[1], self._wanted.news
        touched = self._values.touched(event.type)
        numbers = self._values.numbers(state, moment, among=touched) if touched else {}
        if news[UPDATED] and (changed := _changed(event, state, before, numbers, whole=whole)):
            told = Told(UPDATED, moment, f"{seq}", seq, {"cause": cause, "changed": changed})
            self._tell(told, profile, moment)
        for name, limit, up in _crossed(self._wanted.thresholds, before.numbers, numbers):
            said = {"name": name, "threshold": limit, "direction": "up" if up else "down"}
            said |= {"value": numbers[name], "before": before.numbers.get(name, 0)}
            told = Told(CROSSED, moment, f"{seq}:{name}:{limit!r}", seq, {"cause": cause, "indicator": said})
            self._tell(told, profile, moment)

    # ---- what happens without one ------------------------------------------------------------------------------------

    def notice(self, notice: Notice, state: ProfileState, *, by_clock: bool = False) -> None:
        """A profile entered an audience, or left it: because of the event that was begun, or ``by_clock``."""
        told = Told(
            ENTERED if notice.entered else LEFT,
            notice.at,
            notice.id,
            None,
            {"audience": notice.audience, "reason": notice.reason},
        )
        span = self._span
        self._span = None if by_clock else span
        self._tell(told, (notice.profile, state), notice.at)
        self._span = span

    def erased(self, public: str, at: Micros) -> None:
        """A profile was erased: whoever wants to know is told its id, and nothing else, whatever else is asked for.

        It may be told again after a restart, later: so the id of what is sent holds no time.
        """
        told = Told(ERASED, at, public, None, {"profile": {"id": public}})
        for one in self._wanted.news[ERASED]:
            self._deliveries.append(self._made(one, told, one.lane(None), None))

    def stood(self, about: Mapping[str, Any], at: Micros) -> None:
        """A target (``standing.told_of``) is other than it was: whoever asks for that is told, but never of itself.

        It is about no customer, so no purpose is asked for.
        """
        told = Told(f"{OF_TARGETS}{about['state']}", at, f"{about['name']}:{at}", None, {"target": dict(about)})
        for one in self._wanted.news[told.type]:
            if one.name != about["name"]:
                try:
                    if one.holds(_asked(told, None), None, at):
                        self._deliveries.append(self._made(one, told, one.lane(None), None))
                except Untold as reason:
                    self._not_told(one, reason)

    # ---- sending -----------------------------------------------------------------------------------------------------

    def _tell(self, told: Told, profile: tuple[ProfileKey, ProfileState], moment: Micros) -> None:
        for one in self._wanted.news[told.type]:
            self._send(one, told, profile, moment)

    def _send(
        self,
        one: Subscription,
        told: Told,
        profile: tuple[ProfileKey, ProfileState] | None,
        moment: Micros,
        *,
        event: Event | None = None,
        at: Micros = _NEVER,
    ) -> None:
        state = None if profile is None else profile[1]
        try:
            if not one.wants(_asked(told, event), state, self._values, moment):
                return
        except Untold as reason:
            self._not_told(one, reason)
            return
        data = dict(told.data)
        if event is not None:
            data["event"] = one.fields.of_event(event, at)
        if "changed" in data:
            data["changed"] = one.fields.names(data["changed"])
            if not data["changed"]:
                return
        if state is not None:
            data["profile"] = one.fields.of_profile(state, self._values, moment)
        key = None if profile is None else profile[0]
        self._deliveries.append(self._made(one, told._replace(data=data), one.lane(key), key))

    def _not_told(self, one: Subscription, reason: Untold) -> None:
        count, _ = self._untold.get(one.name, (0, ""))
        self._untold[one.name] = (count + 1, str(reason))

    def _made(self, one: Subscription, told: Told, lane: int | None, key: ProfileKey | None) -> Delivery:
        body = {"type": told.type, "timestamp": show_time(from_micros(told.at)), "data": told.data}
        return Delivery(
            id=delivery_id(self._wanted.journal_id, one.name, told),
            target=one.name,
            type=told.type,
            at=told.at,
            body=_ENCODE(body),
            profile=key,
            seq=told.seq,
            lane=lane,
            span=self._span,
        )


def _asked(told: Told, event: Event | None) -> dict[str, Any]:
    """What a condition sees as ``event``: the stored event, else what is told in the same shape."""
    if event is None:
        return {"type": told.type, "data": told.data, "source": "", "traits": {}, "identifiers": {}}
    return {
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "data": event.data,
        "traits": event.traits,
        "identifiers": event.identifiers,
    }


def _changed(event: Event, state: ProfileState, before: Before, numbers: Mapping[str, Any], *, whole: bool) -> list[str]:
    """What of the profile is other than before, as paths; ``whole``: not only what the event itself speaks of."""
    kinds = {one.kind for one in state.identifiers if not one.derived and (one.kind, one.value) not in before.identifiers}
    names: Iterable[str] = state.traits if whole else event.traits
    traits = [name for name in names if _value(state.traits, name) != _value(before.traits, name)]
    moved = [name for name, value in numbers.items() if before.numbers.get(name, 0) != value]
    return [
        *(f"identifiers.{kind}" for kind in sorted(kinds)),
        *(f"traits.{name}" for name in sorted(traits)),
        *(f"indicators.{name}" for name in sorted(moved)),
    ]


def _value(traits: Mapping[str, Any], name: str) -> Any:
    held = traits.get(name)
    return None if held is None else held.value


def _crossed(
    thresholds: Mapping[str, Sequence[float]], before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[tuple[str, float, bool]]:
    """Each threshold that lies between the two values: reached or passed upwards, or fallen below."""
    found = []
    for name, limits in thresholds.items():
        old, new = before.get(name, 0), after.get(name)
        if isinstance(new, int | float) and isinstance(old, int | float):
            found += [(name, limit, new > old) for limit in limits if (old < limit) is not (new < limit)]
    return found
