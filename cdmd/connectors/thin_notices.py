"""Notifications of a thin webhook: which key each one names, and what has to be durable before it is answered.

A notification marks its key and has no identity of its own: the hundredth equal one counts like the first, and writes nothing
where a durable mark already says the same. Not here: fetching.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from cdmd.connectors.fetching import Ask
from cdmd.connectors.thin_keys import Keys, Mark, mark_row
from cdmd.connectors.thin_settings import FetchSettings
from cdmd.contracts import Source
from cdmd.errors import TemplateFault, ValueRefused
from cdmd.kit.templates import Template
from cdmd.kit.urls import UrlTemplate, plain_value
from cdmd.models import Accepted, Answer, Emission, Fault, Record, Verdict, to_micros

KEY_REFUSED: Final = "key_refused"
"""The fault of a notification of which no key can be made."""

Summary = Callable[[Sequence[Verdict]], Answer]
"""Makes the answer of a request of the verdicts on its notifications."""


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A key that could not be fetched, as its dead letter keeps it. ``stamp`` tells two letters about one key apart."""

    key: str
    target: str
    stamp: int


class _Marking:
    """Marks that are being written: their rows, and what becomes of the keys once they are durable."""

    def __init__(self, keys: Keys) -> None:
        self._keys, self._written = keys, list[tuple[bytes, int, Mark]]()
        self.state: dict[bytes, bytes | None] = {}

    def add(self, digest: bytes, mark: Mark) -> None:
        """Write it, unless a durable mark covers it."""
        generation = self._keys.notice(digest, mark)
        if generation is not None:
            self.state[mark_row(digest, generation)] = msgspec.msgpack.encode(mark)
            self._written.append((digest, generation, mark))

    def durable(self) -> bool:
        """They are; whether a key waits now that did not before."""
        found = [self._keys.noticed(*one) for one in self._written]
        return True in found


class Notices:
    """What a connector makes of its notifications. ``told`` is called when there is a new key to fetch."""

    def __init__(self, settings: FetchSettings, keys: Keys, *, told: Callable[[], None]) -> None:
        self._settings, self._keys, self._told = settings, keys, told
        self._url, self._key = UrlTemplate.parse(settings.url), Template.parse(settings.key)
        self._version = None if settings.version is None else Template.parse(settings.version.notice)
        self._stamp = 0

    @property
    def origin(self) -> str:
        """Where everything is fetched from."""
        return self._url.origin

    def emission(self, records: Sequence[Record], source: Source, summary: Summary) -> Answer | Emission:
        """What has to be durable before this request is answered: a mark for each key that no durable one covers already.

        A notification of which no key can be made becomes a dead letter.
        """
        verdicts: list[Verdict | None] = []
        faulted: list[Record] = []
        marking = _Marking(self._keys)
        for record in records:
            mark = self._marked(record, source)
            if isinstance(mark, Record):
                faulted.append(mark)
                verdicts.append(None)
                continue
            verdicts.append(Accepted(mark.key))
            marking.add(self.digest(source, mark.key.encode()), mark)

        def answer(given: Sequence[Verdict]) -> Answer:
            if marking.durable():
                self._told()
            rest = iter(given)
            return summary([next(rest) if one is None else one for one in verdicts])

        return Emission(records=faulted, answer=answer, state=marking.state) if marking.state or faulted else answer(())

    def _marked(self, record: Record, source: Source) -> Mark | Record:
        """The mark, or the record with the fault for which there is none."""
        if record.fault is not None:
            return record
        try:
            return self.mark(record, source)
        except (TemplateFault, ValueRefused) as fault:
            return msgspec.structs.replace(record, fault=Fault(KEY_REFUSED, f"no key can be fetched: {fault}"))

    async def take_back(self, values: Sequence[Any], source: Source) -> list[bool]:
        """Mark what dead letters kept as if it had been notified now; which of them could be, once that is durable."""
        marking, taken = _Marking(self._keys), []
        for value in values:
            mark = self._again(value, source)
            taken.append(mark is not None)
            if mark is not None:
                marking.add(self.digest(source, mark.key.encode()), mark)
        await source.emit([], state=marking.state)
        marking.durable()
        self._told()
        return taken

    def _again(self, value: Any, source: Source) -> Mark | None:
        try:
            letter = msgspec.convert(value, Letter)
        except msgspec.ValidationError:
            try:
                return self.mark(Record(value=value, received=source.clock.now(), fallback_id=""), source)
            except (TemplateFault, ValueRefused):
                return None
        return Mark(letter.key, letter.target, self.stamp(source))

    def mark(self, record: Record, source: Source) -> Mark:
        """What a notification says. Raises ``TemplateFault`` and ``ValueRefused`` where no plain key can be made of it."""
        value, context = record.value, record.context
        key = plain_value(self._key.render(value, context), self._settings.key)
        target = _target(self._url.render(value, context))
        version = None if self._version is None else self._version.render(value, context)
        return Mark(key, target, self.stamp(source), version if isinstance(version, str | int | float) else None)

    def ask(self, mark: Mark) -> Ask:
        """The request for a key, before it is signed."""
        return Ask(url=self.origin + mark.target, method=self._settings.method, headers=self._settings.headers)

    def stamp(self, source: Source) -> int:
        """Now in microseconds, greater than every one before."""
        self._stamp = max(to_micros(source.clock.now()), self._stamp + 1)
        return self._stamp

    @staticmethod
    def digest(source: Source, content: bytes) -> bytes:
        """16 bytes that name ``content`` on the disk; without the daemon's key nobody can try contents against them."""
        return hashlib.blake2b(content, digest_size=16, key=source.secret("thin")).digest()


def _target(url: str) -> str:
    """Path and query: the origin is today's configuration's."""
    begin = url.index("://") + 3
    return url[min(place for place in (url.find("/", begin), url.find("?", begin)) if place >= 0) :]
