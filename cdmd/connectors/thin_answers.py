"""What becomes of a fetch of a thin webhook: an event where something changed, another try, a dead letter.

Each verdict is one commit: what was fetched, and the marks that it answers. Not here: which key is fetched when (``thin``),
what an answer means (``fetching``).
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from cdmd.connectors.fetching import Denied, Fetched, Gone, Outcome, Renewed, Throttled
from cdmd.connectors.streaks import Streak
from cdmd.connectors.thin_keys import Flight, Keys, Mark, Trouble, content_row, is_older, mark_row, trouble_row
from cdmd.connectors.thin_notices import Letter, Notices
from cdmd.connectors.thin_settings import FetchSettings
from cdmd.contracts import Source
from cdmd.errors import Overloaded, TemplateFault
from cdmd.kit.backoff import Backoff
from cdmd.kit.templates import Template
from cdmd.models import Fault, Filtered, Parts, Record, to_micros

FETCH_FAILED: Final = "fetch_failed"
"""The fault of a key that could not be fetched."""

RETRY: Final = Backoff(first=2.0, cap=3600.0, factor=3.0)
STALE: Final = (1.0, 5.0, 30.0)
"""Seconds after which an answer that is older than its notification is asked for again."""

_REMOVED: Final = b"removed"
_CANONICAL: Final = msgspec.json.Encoder(order="sorted").encode
_SECOND: Final = 1_000_000


class Answers:
    """Judges fetches. ``chance`` draws from [0, 1)."""

    def __init__(
        self, name: str, settings: FetchSettings, *, keys: Keys, notices: Notices, chance: Callable[[], float]
    ) -> None:
        self._name, self._settings, self._keys, self._notices, self._chance = name, settings, keys, notices, chance
        self._streak, self._last = Streak(), ""
        self._record = None if settings.record is None else Template.parse(settings.record)
        self._version = None if settings.version is None else Template.parse(settings.version.record)
        self._identifiers = {kind: Template.parse(text) for kind, text in settings.removed.identifiers.items()}

    async def settle(self, flight: Flight, outcome: Outcome, source: Source) -> Denied | None:
        """Carry out what the outcome asks for; what the disk refuses is fetched again later. ``Denied`` is the caller's.

        What is denied to a few keys, and to no other meanwhile, is denied to all.
        """
        try:
            await self._judge(flight, outcome, source)
            return outcome if isinstance(outcome, Denied) and (not outcome.perhaps_this or self._streak.everybodys) else None
        except Overloaded as error:
            due = to_micros(source.clock.now()) + error.retry_after * _SECOND
            self._keys.put_back(flight, msgspec.structs.replace(flight.waiting.trouble, due=due))
            return None

    @property
    def trouble(self) -> str | None:
        """What keeps everything from being fetched, in words for ``status``."""
        return f"the last fetches all failed: {self._last}" if self._streak.long else None

    async def _judge(self, flight: Flight, outcome: Outcome, source: Source) -> None:
        match outcome:
            case Denied(perhaps_this=False) | Throttled() | Renewed():
                self._keys.put_back(flight, flight.waiting.trouble)
            case Gone():
                await self._deliver(flight, [self._removal(flight, source)], _REMOVED, source)
            case Fetched(value=value):
                await self._arrived(flight, value, source)
            case other:
                await self._failed(flight, getattr(other, "reason", "it says that nothing changed, unasked"), source)

    async def _arrived(self, flight: Flight, value: Any, source: Source) -> None:
        """Take an answer; one that is older than what a notification spoke of only after three more tries."""
        found, trouble = self._located(value), flight.waiting.trouble
        if found is None:
            await self._failed(flight, f"the answer holds nothing at {self._settings.record}", source)
            return
        stale = self._is_stale(flight.waiting.mark, found)
        if stale and trouble.stale < len(STALE):
            due = to_micros(source.clock.now()) + round(STALE[trouble.stale] * _SECOND)
            await self._later(flight, Trouble(trouble.attempts, due, trouble.stale + 1), source)
            return
        await self._deliver(flight, self._records(flight, found, stale=stale, source=source), _CANONICAL(found), source)

    def _located(self, value: Any) -> Any:
        if self._record is None:
            return value
        try:
            return self._record.render(value, {})
        except TemplateFault:
            return None

    def _is_stale(self, mark: Mark, found: Any) -> bool:
        if self._version is None or mark.version is None:
            return False
        try:
            return is_older(self._version.render(found, {}), mark.version)
        except TemplateFault:
            return False

    def _records(self, flight: Flight, found: Any, *, stale: bool, source: Source) -> list[Record]:
        """One record, or one for each item where ``record`` finds a list; named by the key and a number never used before."""
        items = found if isinstance(found, list) and self._record is not None else [found]
        key, now = flight.waiting.mark.key, source.clock.now()
        name = f"{key}:{self._notices.stamp(source)}"
        names = [f"{name}:{place}" for place in range(len(items))] if len(items) > 1 else [name]
        context = {"_fetch": {"key": key, "stale": stale}}
        return [
            Record(value=item, received=now, fallback_id=one, context=context) for item, one in zip(items, names, strict=False)
        ]

    def _removal(self, flight: Flight, source: Source) -> Record:
        key = flight.waiting.mark.key
        found = {kind: template.render({"key": key}, {}) for kind, template in self._identifiers.items()}
        identifiers = {kind: value for kind, value in found.items() if isinstance(value, str)}
        return Record(
            value={"key": key},
            received=source.clock.now(),
            fallback_id=f"{key}:{self._notices.stamp(source)}",
            type=self._settings.removed.type or f"{self._name}.removed",
            parts=Parts(identifiers=identifiers, data={"key": key}),
            final=True,
        )

    async def _deliver(self, flight: Flight, records: Sequence[Record], content: bytes, source: Source) -> None:
        """One commit: the events, where the content is another than the last time, and the marks that they answer."""
        self._streak.success()
        row, named = content_row(flight.waiting.digest), self._notices.digest(source, content)
        changed = (await source.get([row])).get(row) != named
        verdicts = await source.emit(records if changed else [], state={**_answered(flight), row: named})
        self._keys.delivered(flight)
        if any(isinstance(verdict, Filtered) for verdict in verdicts):
            await source.emit([], state={row: None})  # what is not wanted today may be tomorrow

    async def _failed(self, flight: Flight, reason: str, source: Source) -> None:
        """Try again later, and after the last try set the key aside, unless it was notified again meanwhile.

        The last try counts only where another key was fetched since this one failed first: else it may not be its own trouble.
        """
        mark, trouble = flight.waiting.mark, flight.waiting.trouble
        attempts, alone = trouble.attempts + 1, self._fails_alone(flight, reason)
        if attempts < self._settings.tries or flight.again is not None or not alone:
            due = to_micros(source.clock.now()) + round(RETRY.delay(attempts, self._chance()) * _SECOND)
            await self._later(flight, Trouble(attempts, due, trouble.stale), source)
            return
        letter = Letter(key=mark.key, target=mark.target, stamp=self._notices.stamp(source))
        record = Record(
            value=msgspec.to_builtins(letter),
            received=source.clock.now(),
            id=mark.key,
            fallback_id=mark.key,
            fault=Fault(FETCH_FAILED, f"{attempts} tries to fetch this key failed; the last one: {reason}"),
        )
        await source.emit([record], state=_answered(flight))
        self._keys.delivered(flight)

    def _fails_alone(self, flight: Flight, reason: str) -> bool:
        """Whether something else was fetched since this failed first."""
        waiting, self._last = flight.waiting, reason
        if waiting.before is None:
            waiting.before = 0 if waiting.trouble.attempts else self._streak.succeeded  # it failed before a restart
        alone = waiting.before < self._streak.succeeded
        if not alone:
            self._streak.failure(waiting.digest)
        return alone

    async def _later(self, flight: Flight, trouble: Trouble, source: Source) -> None:
        await source.emit([], state={trouble_row(flight.waiting.digest): msgspec.msgpack.encode(trouble)})
        self._keys.put_back(flight, trouble)


def _answered(flight: Flight) -> dict[bytes, bytes | None]:
    """The rows that go: the generations that were there when the fetch began, and what was remembered of failed tries."""
    digest = flight.waiting.digest
    rows = [mark_row(digest, generation) for generation in flight.waiting.generations]
    return dict.fromkeys([*rows, trouble_row(digest)])
