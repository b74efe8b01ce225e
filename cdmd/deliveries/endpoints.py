"""How a target's endpoint is, after each attempt: active, paused, failing, disabled. Pure: the note, the verdict and the time.

* It asks for a pause (429, a timeout): nobody sends anything until that is over.
* ``FAILURES`` in a row: failing. One delivery tries after a growing pause; the first success makes it active again.
* Nothing but failures for ``HOPELESS``, ``MANY`` and with no ``LULL`` among them, or it says that it is no more: disabled,
  until somebody enables it.

What is held back so costs no delivery any of its attempts. Not here: when a single delivery is tried again (``retrying``).
"""

from typing import Final

import msgspec

from cdmd.kit.backoff import Backoff
from cdmd.models import Delivered, DeliveryVerdict, Gone, Later, Micros, Never, TargetNote, to_micros

FAILURES: Final = 5
HOPELESS: Final = 5 * 86_400 * 1_000_000
LULL: Final = 36 * 3600 * 1_000_000
"""After so long without an attempt nobody knows that it failed all the time; the longest wait of ``RETRY`` is shorter."""

MANY: Final = 10

PAUSE: Final = 60 * 1_000_000
LONGEST: Final = 24 * 3600 * 1_000_000
_TRYING: Final = Backoff(first=10.0, cap=600.0)
HOPELESS_REASON: Final = "nothing but failures for five days"


def judged(note: TargetNote, verdict: DeliveryVerdict, now: Micros, *, chance: float) -> TargetNote:
    """The note after an attempt. ``chance`` in [0, 1) is drawn by the caller."""
    if note.state == "disabled":
        return note
    match verdict:
        case Delivered() | Never():
            return _well(note, now)
        case Gone(reason=reason):
            return msgspec.structs.replace(note, state="disabled", reason=reason, since=now, until=0)
        case Later():
            return _failed(note, verdict, now, chance=chance)


def enabled(note: TargetNote, now: Micros) -> TargetNote:
    """Somebody enables it: all that was held against it is forgotten."""
    return TargetNote(since=now, last_success=note.last_success)


def disabled(note: TargetNote, now: Micros, reason: str) -> TargetNote:
    """Nothing is sent to it until it is enabled."""
    return msgspec.structs.replace(note, state="disabled", reason=reason, since=now, until=0)


def wait(note: TargetNote, now: Micros) -> int | None:
    """Microseconds until it may be tried; None where it may not be."""
    return None if note.state == "disabled" else max(0, note.until - now)


def probing(note: TargetNote) -> bool:
    """Whether only one at a time may try."""
    return note.state in {"paused", "failing"}


def remembered(before: TargetNote, after: TargetNote) -> bool:
    """Whether the difference has to survive a restart."""
    return (before.state, before.until, before.failing_since) != (after.state, after.until, after.failing_since)


def _well(note: TargetNote, now: Micros) -> TargetNote:
    if note.state == "active" and not note.failures:
        return msgspec.structs.replace(note, last_success=int(now))
    since = note.since if note.state == "active" else now
    return TargetNote(since=since, last_success=now)


def _failed(note: TargetNote, verdict: Later, now: Micros, *, chance: float) -> TargetNote:
    failures = note.failures + 1
    first = note.failing_since
    if first is None or now - (note.last_failure or first) > LULL:
        first = int(now)
    fresh = msgspec.structs.replace(note, failures=failures, failing_since=first, last_failure=int(now), reason=verdict.reason)
    if now - first >= HOPELESS and failures >= MANY:
        return disabled(fresh, now, f"{HOPELESS_REASON}: {verdict.reason}")
    state = note.state
    until = note.until
    if failures >= FAILURES:
        state = "failing"
        until = now + round(_TRYING.delay(failures - FAILURES + 1, chance) * 1_000) * 1_000
    if verdict.holds:
        asked = now + PAUSE if verdict.at is None else to_micros(verdict.at)
        state = "failing" if state == "failing" else "paused"
        until = max(until, min(asked, now + LONGEST))
    since = note.since if state == note.state else now
    return msgspec.structs.replace(fresh, state=state, until=int(until), since=int(since))
