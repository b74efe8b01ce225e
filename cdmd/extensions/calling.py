"""One registered extension: its breaker, its figures, and the verdict of a call.

Not here: the call itself (``performing``); in which order extensions see an event, how many calls run at once (``dispatch``).
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

import msgspec
import structlog

from cdmd.contracts import Clock, Context, Extension
from cdmd.errors import Drop, Reject, RetryLater
from cdmd.extensions.breaker import WITHIN, Breaker, back_off
from cdmd.extensions.context import Spanned
from cdmd.extensions.performing import Function, Limits, NotCalled
from cdmd.kit.globs import Globs
from cdmd.kit.spans import SpanContext
from cdmd.models import FAILED, Bury, Discard, Event, Extended, Fault, Hold, Micros, Outcome, show_time, to_micros

_KEPT_DURATIONS: Final = 512
_SECOND: Final = 1_000_000
_WITHHELD: Final = (5.0, 300.0)


class Registered(NamedTuple):
    """An extension, the plugin it belongs to, and the context it is called with."""

    plugin: str
    extension: Extension
    context: Context


def key_of(plugin: str, extension: str) -> str:
    """What an extension is called beside those of other plugins: ``plugin.extension``, or the plugin where it is its name."""
    return plugin if extension == plugin else f"{plugin}.{extension}"


def keys(registered: Sequence[Registered]) -> list[str]:
    """A name for each that tells it apart, also from one that is called the same (``key_of``)."""
    used: Counter[str] = Counter()
    found = []
    for one in registered:
        key = key_of(one.plugin, one.extension.name)
        used[key] += 1
        found.append(key if used[key] == 1 else f"{key}#{used[key]}")
    return found


class ExtensionState(msgspec.Struct, frozen=True, kw_only=True):
    """A row for ``status`` and ``plugins``. ``open_until`` is when the breaker probes; ``error`` names no value.

    ``withheld`` is why it is not called at all and its events wait.
    ``seconds`` is what its calls took altogether, most of which an async one waits.
    """

    plugin: str
    extension: str
    calls: int
    failures: int
    running: int
    waiting: int
    open_until: Micros | None
    p95_seconds: float | None
    seconds: float
    error: str | None
    withheld: str | None = None


class Verdict(NamedTuple):
    """What one call came to: the event as it is now, what becomes of it (None: on to the next), and the trace's row.

    ``dropped``: the call's coroutine would not end, so the state of the task it ran in can no longer be trusted.
    """

    event: Event
    outcome: Outcome | None
    visit: Extended
    dropped: bool = False


class Caller:
    """Calls one extension, one event at a time per call of ``call``; never raises but for a cancellation of its task."""

    def __init__(
        self, key: str, registered: Registered, *, clock: Clock, limits: Limits, chance: Callable[[], float] = random.random
    ) -> None:
        self.key, self.plugin, self.extension = key, registered.plugin, registered.extension
        self._log = structlog.get_logger("cdmd.extensions")
        self._context, self._clock, self._chance = registered.context, clock, chance
        self.selects = Globs(self.extension.on).matches
        self.function = Function(key, self.extension, limits)
        self._breaker = Breaker()
        self._calls = self._failures = 0
        self._error: str | None = None
        self._failed_at: float | None = None
        self._failure: str | None = None
        self._withheld: str | None = None
        self._durations: deque[float] = deque(maxlen=_KEPT_DURATIONS)
        self._seconds = 0.0

    async def call(
        self, event: Event, *, attempts: int, begun: float, suspended: Callable[[], None], span: SpanContext | None = None
    ) -> Verdict:
        """Call it once if its breaker admits it. ``attempts`` failed before; ``suspended``: see ``Driven``.

        What it asks of others is part of the trace of ``span``; it takes from ``begun`` (monotonic seconds) on.
        """
        if self._withheld is not None:
            return self._kept_from(event, attempts, self._withheld)
        if not self._breaker.admits(begun):
            return self._refused(event, attempts, begun)
        self._calls += 1
        context = self._context if span is None else Spanned(self._context, span.headers)
        try:
            came = await self.function.perform(event, context, suspended=suspended)
        except asyncio.CancelledError:
            self._breaker.withdraw()
            raise
        if came.asked is not None:
            return self._asked(event, came.asked, attempts, begun)
        if came.failure is not None:
            failed = self._failed(event, came.failure, attempts, begun, logged=came.logged)
            return failed._replace(dropped=came.dropped)
        return self._went_well(event, event if came.event is None else came.event, begun)

    def state(self, *, running: int, waiting: int) -> ExtensionState:
        """Its figures now."""
        opened = self._breaker.open_until
        ahead = None if opened is None else max(0.0, opened - self._clock.monotonic())
        until = None if ahead is None else self._in(ahead)  # it moves a little each time it is asked for
        durations = sorted(self._durations)
        return ExtensionState(
            plugin=self.plugin,
            extension=self.key,
            calls=self._calls,
            failures=self._failures,
            running=running,
            waiting=waiting,
            open_until=None if until is None else Micros(-(-until // _SECOND) * _SECOND),
            p95_seconds=durations[int(len(durations) * 0.95)] if durations else None,
            seconds=self._seconds,
            error="; ".join(filter(None, (self._failure, self._error))) or None,
            withheld=self._withheld,
        )

    def blame(self, text: str) -> None:
        """Show ``text`` as its last error (it blocked the event loop, say)."""
        self._error = text

    def withhold(self, why: str) -> None:
        """Never call it: its events wait, because of ``why``, for a restart that finds it well."""
        self._withheld = why

    def _kept_from(self, event: Event, attempts: int, why: str) -> Verdict:
        """Looked at again after a quarter of its age or so: soon after a short outage, seldom in a long one."""
        age = (self._clock.now() - event.received).total_seconds()
        shortest, longest = _WITHHELD
        wait = min(max(age / 4, shortest), longest) * (0.75 + self._chance() / 4)
        return Verdict(event, Hold(self.key, self._in(wait), attempts, why), Extended(self.key, 0.0, "held"))

    def _went_well(self, before: Event, after: Event, begun: float) -> Verdict:
        ended = self._succeeded()
        if after is before:
            return Verdict(after, None, self._visit("unchanged", ended - begun))
        held = before.data
        added = tuple([name for name, value in after.data.items() if name not in held or held[name] != value])
        return Verdict(after, None, self._visit("extended" if added or after != before else "unchanged", ended - begun, added))

    def _asked(self, event: Event, asked: Drop | RetryLater | Reject, attempts: int, begun: float) -> Verdict:
        outcome: Outcome
        word: str
        match asked:
            case Drop(reason=reason):
                outcome, word = Discard(reason), "dropped"
            case Reject(reason=reason):
                outcome, word = Bury(Fault("rejected", f"{self.key}: {reason}")), "rejected"
            case RetryLater(reason=reason):
                outcome, word = Hold(self.key, self._in(asked.seconds), attempts, reason), "later"
        if isinstance(asked, NotCalled):
            self._breaker.withdraw()
        else:
            self._succeeded()
        return Verdict(event, outcome, self._visit(word, self._clock.monotonic() - begun))

    def _succeeded(self) -> float:
        """What was wrong some time ago is over. The moment (monotonic seconds)."""
        now = self._clock.monotonic()
        self._breaker.succeeded(now)
        if self._failed_at is not None and now - self._failed_at > WITHIN:
            self._failed_at = self._failure = None
        return now

    def _failed(self, event: Event, reason: str, attempts: int, begun: float, *, logged: str | None = None) -> Verdict:
        """``logged`` in place of a reason in the plugin's own words: those stand in rows, and the log is read by more."""
        self._failures += 1
        self._failed_at, self._failure = self._clock.monotonic(), f"{reason}, at {show_time(self._clock.now())}"
        told = logged or reason
        self._log.warning("extension_failed", plugin=self.plugin, extension=self.key, error=told, attempt=attempts + 1)
        if self._breaker.failed(self._clock.monotonic()):
            self._log.error("extension_not_called_for_a_while", plugin=self.plugin, extension=self.key)
        visit = self._visit(f"{FAILED}: {reason}", self._clock.monotonic() - begun)
        match self.extension.on_failure:
            case "store":
                return Verdict(event, None, visit)
            case "reject":
                return Verdict(event, Bury(Fault("extension_failed", f"{self.key}: {reason}")), visit)
            case _:
                wait = back_off(attempts + 1, self._chance)
                return Verdict(event, Hold(self.key, self._in(wait), attempts + 1, reason), visit)

    def _refused(self, event: Event, attempts: int, begun: float) -> Verdict:
        """The breaker is open: no call. Those held come back spread over as long again, not all in one moment."""
        if self.extension.on_failure == "store":
            return Verdict(event, None, Extended(self.key, 0.0, "skipped: it keeps failing"))
        ahead = max(0.0, (self._breaker.open_until or begun) - begun)
        due = self._in(ahead + self._chance() * (ahead + 1.0))
        why = f"it keeps failing and is let alone for a while: {self._failure}"
        return Verdict(event, Hold(self.key, due, attempts, why), Extended(self.key, 0.0, "held"))

    def _visit(self, outcome: str, seconds: float, added: Sequence[str] = ()) -> Extended:
        self._durations.append(seconds)
        self._seconds += seconds
        return Extended(self.key, round(seconds, 6), outcome, added)

    def _in(self, seconds: float) -> Micros:
        return to_micros(self._clock.now() + timedelta(seconds=seconds))
