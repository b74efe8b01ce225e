"""What to do about a listed file: ``(what is listed, what is known, now) -> an action``. Pure.

A file is whole when it was the same at several listings for as long as the settings say, by our own steady clock: a file's
own time says nothing, because senders set it and clocks differ. What another process measured counts for nothing, so a
restart lets every file settle anew.
"""

from typing import Final, NamedTuple, TypeAlias

import msgspec

from cdmd.connectors.files.area import Listed, Version
from cdmd.connectors.files.ledger import BLOCKED, DELETED, DONE, DUPLICATE, GONE, MOVED, PARSING, SEEN, Entry, Known


class Moment(NamedTuple):
    """Now: ``session`` names this process, ``steady`` are its monotonic seconds, ``micros`` the wall clock's."""

    session: bytes
    steady: float
    micros: int
    listing: int


class Leave(NamedTuple):
    """Nothing to do."""


class Settle(NamedTuple):
    """It has to stay as it is for so many more seconds."""

    seconds: float


class Note(NamedTuple):
    """Write down that it is on its way."""

    entry: Entry
    seconds: float


class Close(NamedTuple):
    """It is over: it is never read."""

    entry: Entry


class Take(NamedTuple):
    """It is whole: read it."""

    entry: Entry


class Tidy(NamedTuple):
    """It was read before; what the settings want done with it afterwards was not."""

    entry: Entry


Action: TypeAlias = Leave | Settle | Note | Close | Take | Tidy
_LEAVE: Final = Leave()
_TAKEN_AWAY: Final = frozenset({DELETED, MOVED})
"""What was taken away and is there again is another file, whatever its size and time."""

GROWING: Final = "it is still growing"
SHRANK: Final = "it became smaller"
CHANGED: Final = "it was changed"
REPLACES: Final = "it replaces one that was read up to record"
RESTARTED: Final = "watched anew since the restart"
RETURNED: Final = "it is there again"

_PAUSE: Final = 60.0
_LONGEST_PAUSE: Final = 900.0
"""Seconds until what was read in vain is read again: twice as many each time, from the first to the second."""


def decide(listed: Listed, known: Known, now: Moment, *, stable_for: float) -> Action:
    """What to do about ``listed``; ``stable_for`` in seconds."""
    before, over = known.open, known.over
    if listed.fault is not None:
        return _refuse(listed, over, now)
    if before is None:
        return _not_on_its_way(listed.version, over, now, stable_for=stable_for)
    if before.version != listed.version:
        return Note(_changed(before, listed.version, now), stable_for)
    if before.state == PARSING:
        return Take(before)
    if before.session != now.session:
        return Note(sighted(before, now, reason=RESTARTED), stable_for)
    left = max(stable_for, _pause(before)) - (now.steady - before.sighted)
    if left <= 0 and now.listing > before.listing:
        return Take(before)
    return _LEAVE if before.state == BLOCKED else Settle(max(left, 0.0))


def _not_on_its_way(version: Version, over: Entry | None, now: Moment, *, stable_for: float) -> Action:
    if over is None or over.version != version or over.after in _TAKEN_AWAY:
        return Note(_first(version, now, over=over), stable_for)
    if over.state == GONE:  # as where a share was not mounted for a moment; what was read of it is not read again
        return Note(sighted(over, now, reason=RETURNED), stable_for)
    return _LEAVE if over.after or over.state not in {DONE, DUPLICATE} else Tidy(over)


def _pause(entry: Entry) -> float:
    """Seconds that a file rests which was read in vain: its checksum or its access may be put right without a change of it."""
    return min(_PAUSE * 2 ** min(entry.tries - 1, 9), _LONGEST_PAUSE) if entry.state == BLOCKED else 0.0


def sighted(entry: Entry, now: Moment, *, reason: str, version: Version | None = None) -> Entry:
    """The same file, seen like this for the first time now."""
    size, mtime = version or entry.version
    return msgspec.structs.replace(
        entry,
        state=SEEN,
        size=size,
        mtime=mtime,
        reason=reason,
        since=now.micros,
        session=now.session,
        sighted=now.steady,
        listing=now.listing,
        tries=entry.tries if version is None else 0,
    )


def _first(version: Version, now: Moment, *, over: Entry | None) -> Entry:
    generation = 1 if over is None else over.generation + 1
    blank = Entry(state=SEEN, size=0, mtime=0, since=0, generation=generation)
    return sighted(blank, now, reason="", version=version)


def _changed(before: Entry, version: Version, now: Moment) -> Entry:
    """What was read of a generation stays counted; the file that replaces it starts from its first record."""
    reason = GROWING if version.size > before.size else SHRANK if version.size < before.size else CHANGED
    if before.state != PARSING:
        return sighted(before, now, reason=reason, version=version)
    reason = f"{REPLACES} {before.record}"
    blank = Entry(state=SEEN, size=0, mtime=0, since=0, generation=before.generation + 1)
    return sighted(blank, now, reason=reason, version=version)


def _refuse(listed: Listed, over: Entry | None, now: Moment) -> Action:
    if over is not None and (over.state, over.reason) == (BLOCKED, listed.fault):
        return _LEAVE
    size, mtime = listed.version
    return Close(Entry(state=BLOCKED, size=size, mtime=mtime, since=now.micros, reason=listed.fault or ""))
