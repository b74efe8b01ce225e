"""Rows of the store: each noun as columns that are searched, one packed body, and a checksum over both.

The checksum (8 bytes of BLAKE2b) is looked at whenever a row is read: SQLite's own check saw 5 of 200 flipped bits, and a
damaged profile must not be written back as a sound one. Not here: any SQL.
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final, TypeVar

import msgspec

from cdmd.errors import Damaged
from cdmd.kit.spans import SpanContext
from cdmd.models import (
    Activity,
    Attempt,
    DeadLetter,
    Delivery,
    Entry,
    Extended,
    Fault,
    Merge,
    Newcomer,
    PackedActivity,
    Parked,
    ProfileKey,
    Profiles,
    ProfileState,
    Queued,
    Seq,
    pack_activity,
    unpack_profile,
)

T = TypeVar("T")
_ENCODE: Final = msgspec.msgpack.Encoder().encode
_EMPTY: Final = blake2b(digest_size=8).copy
"""A digest of nothing yet; to make one of its settings costs as much again."""


class _Head(msgspec.Struct, array_like=True, gc=False):
    """As much of a ``ProfileState`` as says whether it is merged; its parts are passed over."""

    public: msgspec.Raw
    created: msgspec.Raw
    updated: msgspec.Raw
    identifiers: msgspec.Raw = msgspec.Raw()
    traits: msgspec.Raw = msgspec.Raw()
    indicators: msgspec.Raw = msgspec.Raw()
    members: msgspec.Raw = msgspec.Raw()
    merged_into: int | None = None


class _Identifier(msgspec.Struct, array_like=True, gc=False):
    """As much of an ``IdentifierState`` as says which it is."""

    kind: str
    value: str


class _Identified(msgspec.Struct, array_like=True, gc=False):
    """As much of a ``ProfileState`` as says what its identifiers are."""

    public: msgspec.Raw
    created: msgspec.Raw
    updated: msgspec.Raw
    identifiers: list[_Identifier] = []


class _Parted(_Head, array_like=True, gc=False):
    """As much of a ``ProfileState`` as says what it is kept apart from."""

    audiences: msgspec.Raw = msgspec.Raw()
    judged: msgspec.Raw = msgspec.Raw()
    due: msgspec.Raw = msgspec.Raw()
    apart: list[tuple[int, int]] = []


class _Letter(msgspec.Struct, array_like=True):
    entry: Entry
    fault: Fault
    stage: str
    attempts: int


class _Parked(msgspec.Struct, array_like=True):
    entry: Entry
    extension: str
    attempts: int
    since: int
    reason: str
    retry: bool
    trace: Sequence[Extended] = ()


class _Merge(msgspec.Struct, array_like=True):
    time: int
    identifiers: list[tuple[str, str]]
    rule: str
    before: ProfileState


class _Delivery(msgspec.Struct, array_like=True):
    type: str
    at: int
    seq: int | None
    since: int
    body: bytes
    span: SpanContext | None = None


_ATTEMPT: Final = (
    *("at", "target", "id", "type", "attempt", "outcome", "profile", "seq", "seconds", "status", "reason", "body", "answer"),
)
_HEAD: Final = msgspec.msgpack.Decoder(_Head)
_IDENTIFIED: Final = msgspec.msgpack.Decoder(_Identified)
_PARTED: Final = msgspec.msgpack.Decoder(_Parted)
_ACTIVITY: Final = msgspec.msgpack.Decoder(PackedActivity)
_LETTER: Final = msgspec.msgpack.Decoder(_Letter)
_PARKED: Final = msgspec.msgpack.Decoder(_Parked)
_MERGE: Final = msgspec.msgpack.Decoder(_Merge)
_DELIVERY: Final = msgspec.msgpack.Decoder(_Delivery)


def row_sum(columns: Sequence[int | str | None], body: bytes = b"") -> bytes:
    """The checksum of a row."""
    digest = _EMPTY()
    digest.update(_ENCODE(columns) + body)
    return digest.digest()


def _row(columns: tuple[Any, ...], body: bytes) -> tuple[Any, ...]:
    return (*columns, row_sum(columns, body), body)


def _open(row: Sequence[Any], decoder: msgspec.msgpack.Decoder[T], what: str) -> T:
    *columns, kept, body = row
    if row_sum(columns, body) != kept:
        raise _damaged(what, row[0])
    return decoder.decode(body)


def _damaged(what: str, named: object) -> Damaged:
    return Damaged(f"the store is damaged: {what} {named} does not match its checksum; mend it with: cdmd restore FILE")


def profile_row(key: ProfileKey, public: str, body: bytes, newest: Seq | None) -> tuple[Any, ...]:
    """(id, public, sum, body, newest)."""
    return key, public, row_sum((key, public), body), body, newest


def read_profile(row: Sequence[Any]) -> ProfileState:
    """The state in (id, public, sum, body). Raises ``Damaged``, as all the others do."""
    return unpack_profile(_sound(row))


def read_profiles(rows: Iterable[Sequence[Any]]) -> Profiles:
    """Those in rows of (id, public, sum, body), the ones that are merged into no other as bodies. Raises ``Damaged``."""
    found = Profiles()
    for row in rows:
        body = _sound(row)
        if _HEAD.decode(body).merged_into is None:
            found.bodies[row[0]] = row[1], body
        else:
            found.states[row[0]] = unpack_profile(body)
    return found


def identifiers_in(body: bytes) -> list[_Identifier]:
    """The identifiers of the profile in a body."""
    return _IDENTIFIED.decode(body).identifiers


def parted_by(row: Sequence[Any]) -> list[tuple[int, int]]:
    """What the profile in (id, public, sum, body) is kept apart from (``ProfileState.apart``). Raises ``Damaged``."""
    return _PARTED.decode(_sound(row)).apart


def _sound(row: Sequence[Any]) -> bytes:
    key, public, kept, body = row
    if row_sum((key, public), body) != kept:
        raise _damaged("profile", key)
    return body  # type: ignore[no-any-return]


def newcomer_rows(newcomers: Iterable[Newcomer]) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Those of their profiles and of their activities, each with what it has of its chain: (..., newest) and (..., before)."""
    profiles, activities = [], []
    for one in newcomers:
        seq, key, public, at, profile, activity = one.seq, one.key, one.public, one.at, one.profile, one.activity
        profiles.append((key, public, row_sum((key, public), profile), profile, seq))
        activities.append((seq, key, at, row_sum((seq, key, at), activity), activity, None))
    return profiles, activities


def identifier_row(kind: int, value: str, profile: ProfileKey) -> tuple[Any, ...]:
    """(kind, value, profile, sum)."""
    return (kind, value, profile, row_sum((kind, value, profile)))


def activity_row(one: Activity, before: Seq | None) -> tuple[Any, ...]:
    """(seq, profile, time, sum, body, before)."""
    seq, profile, time = columns = one.seq, one.profile, one.time
    body = pack_activity(one.event, one.rule, one.trace, clock_ahead=one.clock_ahead)
    return seq, profile, time, row_sum(columns, body), body, before


def read_activity(row: Sequence[Any]) -> Activity:
    """The activity in (seq, profile, time, sum, body)."""
    body = _open(row, _ACTIVITY, "activity")
    return Activity(
        seq=row[0],
        profile=row[1],
        time=row[2],
        event=body.event,
        rule=body.rule,
        trace=body.trace,
        clock_ahead=body.clock_ahead,
    )


def merge_row(one: Merge) -> tuple[Any, ...]:
    """(seq, winner, loser, sum, body)."""
    return _row((one.seq, one.winner, one.loser), _ENCODE(_Merge(one.time, list(one.identifiers), one.rule, one.before)))


def read_merge(row: Sequence[Any]) -> Merge:
    """The merge in (seq, winner, loser, sum, body)."""
    body = _open(row, _MERGE, "the merge at")
    return Merge(
        seq=row[0],
        winner=row[1],
        loser=row[2],
        time=body.time,  # type: ignore[arg-type]
        identifiers=body.identifiers,
        rule=body.rule,
        before=body.before,
    )


def letter_row(one: DeadLetter) -> tuple[Any, ...]:
    """(seq, connector, type, code, since, sum, body)."""
    event = one.entry.event
    columns = (one.seq, event.connector, event.type, one.fault.code, one.since)
    return _row(columns, _ENCODE(_Letter(one.entry, one.fault, one.stage, one.attempts)))


def read_letter(row: Sequence[Any]) -> DeadLetter:
    """The dead letter in (seq, connector, type, code, since, sum, body)."""
    body = _open(row, _LETTER, "dead letter")
    return DeadLetter(seq=row[0], since=row[4], entry=body.entry, fault=body.fault, stage=body.stage, attempts=body.attempts)


def parked_row(one: Parked) -> tuple[Any, ...]:
    """(seq, connector, due, bytes, sum, body, extension)."""
    body = _ENCODE(_Parked(one.entry, one.extension, one.attempts, one.since, one.reason, one.retry, one.trace))
    return (*_row((one.seq, one.entry.event.connector, one.due, len(body)), body), one.extension)


def read_parked(row: Sequence[Any]) -> Parked:
    """The parked event in (seq, connector, due, bytes, sum, body)."""
    body = _open(row, _PARKED, "parked event")
    return Parked(
        seq=row[0],
        due=row[2],
        entry=body.entry,
        extension=body.extension,
        attempts=body.attempts,
        since=body.since,  # type: ignore[arg-type]
        reason=body.reason,
        retry=body.retry,
        trace=tuple(body.trace),
    )


def delivery_row(one: Delivery, *, since: int) -> tuple[Any, ...]:
    """(id, profile, sum, body)."""
    return _row((one.id, one.profile), _ENCODE(_Delivery(one.type, one.at, one.seq, since, one.body, one.span)))


def read_queued(row: Sequence[Any]) -> Queued:
    """The delivery in (n, attempts, target, lane, due, failed, reason, id, profile, sum, body)."""
    n, attempts, target, lane, due, failed, reason, *own = row
    body = _open(own, _DELIVERY, "delivery")
    delivery = Delivery(
        id=own[0],
        target=target or "",
        type=body.type,
        at=body.at,  # type: ignore[arg-type]
        body=body.body,
        profile=own[1],
        seq=body.seq,  # type: ignore[arg-type]
        lane=lane,
        n=n,
        attempts=attempts,
        since=body.since,  # type: ignore[arg-type]
        span=body.span,
    )
    return Queued(delivery=delivery, due=due, failed=failed, reason=reason)


def read_attempt(row: Sequence[Any]) -> Attempt:
    """The attempt in (at, target, id, type, attempt, outcome, profile, seq, seconds, status, reason, body, answer)."""
    return Attempt(**dict(zip(_ATTEMPT, row, strict=True)))


def faults_of(rows: Iterable[Sequence[Any]], read: Callable[[Sequence[Any]], object]) -> list[str]:
    """What ``read`` says of each row that is not as it was written."""
    faults = []
    for row in rows:
        try:
            read(row)
        except (Damaged, msgspec.DecodeError, msgspec.ValidationError) as error:
            faults.append(str(error).removeprefix("the store is damaged: ").partition(";")[0])
    return faults
