"""Looking for people, and for all that is kept of one: the store's side of finding and of handing out."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from cdmd.models import DeadLetter, Micros, Notice, Parked, ProfileKey, ProfileState, Seq


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what over the control socket, and what became of it."""

    time: Micros
    uid: int
    user: str
    role: str
    command: str
    arguments: str
    outcome: str


class Person(NamedTuple):
    """A profile, as it is after its merges."""

    key: ProfileKey
    state: ProfileState


class Directory(Protocol):
    """Reads of the store that never wait for a batch. Raise ``NotDurable`` and ``Damaged``."""

    async def named(self, public: str) -> Person | None:
        """The profile that this public id stands for now."""
        ...

    async def starting(self, kind: str, prefix: str, *, after: str = "", limit: int) -> list[tuple[str, Person]]:
        """Normalised identifiers of a kind that begin with ``prefix``, behind ``after``, in their order, with their owners."""
        ...

    async def letters(self, *, after: Seq, limit: int) -> list[DeadLetter]:
        """Dead letters behind ``after`` in order of sequence."""
        ...

    async def parked(self, *, after: Seq, limit: int) -> list[Parked]:
        """Parked events behind ``after`` in order of sequence."""
        ...

    async def moves(self, keys: Sequence[ProfileKey]) -> list[Notice]:
        """When these profiles entered audiences and left them, as far as it is kept, the oldest first."""
        ...

    async def audits(self, words: str) -> list[Audit]:
        """The audit rows whose arguments have these words in them, the oldest first."""
        ...
