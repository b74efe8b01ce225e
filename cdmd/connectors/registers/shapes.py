"""The nouns of registers: how they are compared, what was applied last, what became of one, and the ids of its events. Pure."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from hashlib import blake2b
from typing import BinaryIO, Final, TypeAlias

import msgspec

from cdmd.connectors.registers.deciding import Removals
from cdmd.models import Record, Verdict

STATE: Final = b"register/applied"
"""The key of the connector's state where ``Applied`` lies."""

BEGUN: Final = b"register/begun"
"""Where the one lies that was begun and is not done: its digest, and what its events' ids are made from."""

BATCH: Final = 500
"""Records that are journaled at once."""

Emit: TypeAlias = Callable[[Sequence[Record], Mapping[bytes, bytes | None]], Awaitable[Sequence[Verdict]]]
"""Journals records with state, however long it takes."""

Told: TypeAlias = Callable[[str, int, int], None]
"""Is told a stage, how many records of it are done, and of how many (0: nobody knows)."""


class RegisterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What of the configuration says how registers are compared."""

    key: Sequence[str]
    ignore: Sequence[str]
    removals: Removals
    min_rows: int = 0


class End(msgspec.Struct, frozen=True, array_like=True):
    """How a register ended: whether with a line's end, and the places of its last rows that are remembered, in its order."""

    whole: bool
    last: Sequence[int] = ()


class Applied(msgspec.Struct, frozen=True, array_like=True):
    """The last register that was applied, as the connector's state has it; ``run`` names what the next is compared with.

    ``whole`` and ``last`` are its end; where something spoke against its being whole, ``trusted`` is the end of the last one
    before it that nothing spoke against, until somebody approves.
    """

    run: bytes
    digest: bytes
    name: str
    since: int
    identity: bytes
    key: Sequence[str]
    columns: Sequence[str]
    whole: bool
    rows: int
    held: int = 0
    reason: str = ""
    counts: Mapping[str, int] = {}
    last: Sequence[int] = ()
    trusted: End | None = None

    @property
    def end(self) -> End:
        """What the next one's end is held against."""
        return self.trusted or End(self.whole, self.last)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a register: its records, how many of each change, what waits for approval and why."""

    records: int
    added: int = 0
    changed: int = 0
    removed: int = 0
    restored: int = 0
    filtered: int = 0
    rejected: int = 0
    repeated: int = 0
    held: int = 0
    reason: str = ""


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A register's file: its names as templates see them, SHA-256 of its content, and how it is opened (more than once)."""

    name: str
    path: str
    digest: bytes
    opened: Callable[[ExitStack], BinaryIO]


def event_id(run: bytes, key: bytes, change: str, line: bytes) -> str:
    """An event's id: the same for the same change of the same row against the same register."""
    digest = blake2b(digest_size=16, person=b"cdmd register")
    for part in (run, key, change.encode(), line):
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.hexdigest()


def chained(run: bytes, what: bytes) -> bytes:
    """What names the register after ``run`` that ``what`` made of it."""
    return blake2b(run + what, digest_size=16).digest()
