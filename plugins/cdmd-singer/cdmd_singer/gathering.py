"""What came of a tap and is not stored yet: records in their order, and the last STATE among them. Pure.

A STATE says that everything before it was delivered, so it is stored with exactly that or with more, never earlier.
"""

import hashlib
from collections import Counter
from collections.abc import Collection
from datetime import datetime
from typing import Final

import msgspec

import cdmd
from cdmd_singer.messages import Garbage, Known, Line, Position, Told, message_of

STATE_KEY: Final = b"state"
_MOST: Final = 500
_MOST_BYTES: Final = 2**20
_LONGEST: Final = 1.0
_MOST_GARBAGE: Final = 1000


class Gathered:
    """Takes line after line; ``take_out`` gives what is to be stored together. ``records`` counts what came of each stream.

    ``wanted`` are the streams that are looked at, ``key`` makes names of records that nobody outside can guess.
    """

    def __init__(self, wanted: Collection[str], *, key: bytes) -> None:
        self._wanted, self._key = wanted, key
        self._waiting: list[cdmd.Record] = []
        self._state: bytes | None = None
        self._bytes = 0
        self.records: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def take(self, line: Line, now: datetime) -> None:
        """One line of the tap. Raises ``cdmd.SourceBlocked`` for what cannot be read past without losing records."""
        match message_of(line):
            case Told(stream, _) if stream not in self._wanted:
                self.refused["stream_not_wanted"] += 1
            case Told(stream, record):
                self.records[stream] += 1
                self._add(record, line.content, now, stream=stream)
            case Position(value):
                self._state = value
            case Garbage(code, message):
                self.refused[code] += 1
                if self.refused[code] > _MOST_GARBAGE:
                    raise cdmd.SourceBlocked(
                        f"more than {_MOST_GARBAGE} lines of the tap are set aside ({code}); does it log to stdout?"
                    )
                text = line.content[:1024].decode(errors="replace")
                self._add({"line": text}, line.content, now, fault=cdmd.Fault(code, message))
            case Known("BATCH"):
                raise cdmd.SourceBlocked(
                    "the tap sends BATCH messages, which are files beside; take batch_config out of config"
                )
            case Known(kind) if kind not in {"SCHEMA", "ACTIVATE_VERSION"}:
                self.refused["unknown_message"] += 1
            case _:
                pass

    def due(self, now: datetime) -> bool:
        """Whether it is time to store: enough waits, or the first of it for long enough."""
        long = bool(self._waiting) and (now - self._waiting[0].received).total_seconds() >= _LONGEST
        return long or len(self._waiting) >= _MOST or self._bytes >= _MOST_BYTES

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting and self._state is None

    def take_out(self) -> tuple[list[cdmd.Record], dict[bytes, bytes | None]]:
        """Records, and the state that is stored with them."""
        records, state = self._waiting, {} if self._state is None else {STATE_KEY: self._state}
        self._waiting, self._state, self._bytes = [], None, 0
        return records, dict[bytes, bytes | None](state)

    def _add(
        self, value: object, line: bytes, now: datetime, *, stream: str | None = None, fault: cdmd.Fault | None = None
    ) -> None:
        """A record's own name is of its stream and content: a tap that is run again from an older STATE says it again."""
        content = msgspec.json.encode([stream, value], order="deterministic") if fault is None else line
        name = hashlib.blake2b(content, digest_size=16, key=self._key).hexdigest()
        self._waiting.append(cdmd.Record(value=value, received=now, fallback_id=name, stream=stream, fault=fault))
        self._bytes += len(line)
