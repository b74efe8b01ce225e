"""A journal copied into another one, and compared with it, whichever of them is a file and which lies on servers."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from anyio.to_thread import run_sync
from typing_extensions import override

from cdmd.cluster.bulk import JetStreamBulk
from cdmd.contracts import Append
from cdmd.errors import CdmdError
from cdmd.models import Seq, encode_entry
from cdmd.moving.stores import Told
from cdmd.store.blocks import Block, unpack
from cdmd.store.bulk import Tally, tally
from cdmd.store.journal_bulk import FileJournal
from cdmd.store.moves import JOURNAL_MOVE, JOURNAL_OWNER, Move, decode_move, encode_move

T = TypeVar("T")
_PAGE: Final = 500


class Facts(NamedTuple):
    """Whose a journal is, and which entries it keeps."""

    id: str
    first: Seq
    head: Seq


class JournalEnd(Protocol):
    """A journal that nobody else uses. All raise ``CdmdError``."""

    async def facts(self) -> Facts:
        """As it is now."""
        ...

    async def blocks(self, after: Seq) -> list[Block]:
        """Some blocks behind ``after``, in order; empty where there are no more."""
        ...

    async def owners(self) -> list[str]:
        """Whose state there is."""
        ...

    def pages(self, owner: str) -> AsyncIterator[list[tuple[bytes, bytes]]]:
        """An owner's state in key order."""
        ...

    async def values(self, owner: str, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """An owner's state at those keys."""
        ...

    async def counts(self) -> dict[tuple[str, str], int]:
        """What the door had counted."""
        ...

    async def begin_at(self, first: Seq) -> None:
        """Hold nothing any more but what it says of itself, and begin with entry ``first``."""
        ...

    async def put(self, blocks: Sequence[Block]) -> None:
        """Add blocks, in order."""
        ...

    async def put_beside(self, owner: str, state: Mapping[bytes, bytes | None], counts: Mapping[str, int]) -> None:
        """Change an owner's state, and add to its counters."""
        ...


class FileEnd(JournalEnd):
    """A file; ``id`` is what it is called when it is filled."""

    def __init__(self, journal: FileJournal, *, id: str) -> None:  # noqa: A002 - the field's own name
        self._journal, self._id = journal, id

    async def _run(self, ask: Callable[..., T], *said: Any) -> T:
        try:
            return await run_sync(ask, *said)
        except self._journal.broken as error:
            raise CdmdError(f"a journal cannot be read or written: {self._journal.why(error)}") from error

    @override
    async def facts(self) -> Facts:
        return await self._run(lambda: Facts(self._journal.id or self._id, self._journal.first, self._journal.head))

    @override
    async def blocks(self, after: Seq) -> list[Block]:
        return await self._run(self._journal.blocks, after)

    @override
    async def owners(self) -> list[str]:
        return await self._run(self._journal.owners)

    @override
    async def pages(self, owner: str) -> AsyncIterator[list[tuple[bytes, bytes]]]:
        pages = self._journal.pages(owner)
        while (page := await self._run(next, pages, None)) is not None:
            yield page

    @override
    async def values(self, owner: str, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        return await self._run(self._journal.values, owner, keys)

    @override
    async def counts(self) -> dict[tuple[str, str], int]:
        return await self._run(self._journal.counts)

    @override
    async def begin_at(self, first: Seq) -> None:
        await self._run(self._journal.begin_at, self._id, first)

    @override
    async def put(self, blocks: Sequence[Block]) -> None:
        await self._run(self._journal.put, blocks)

    @override
    async def put_beside(self, owner: str, state: Mapping[bytes, bytes | None], counts: Mapping[str, int]) -> None:
        await self._run(self._journal.put_beside, owner, state, counts)


class StreamEnd(JournalEnd):
    """On servers."""

    def __init__(self, journal: JetStreamBulk) -> None:
        self._journal = journal

    @override
    async def facts(self) -> Facts:
        return Facts(self._journal.id, self._journal.first, self._journal.head)

    @override
    async def blocks(self, after: Seq) -> list[Block]:
        return await self._journal.blocks(after)

    @override
    async def owners(self) -> list[str]:
        return await self._journal.owners()

    @override
    async def pages(self, owner: str) -> AsyncIterator[list[tuple[bytes, bytes]]]:
        page = list[tuple[bytes, bytes]]()
        async for row in self._journal.scan(owner, b""):
            page.append(row)
            if len(page) == _PAGE:
                yield page
                page = []
        if page:
            yield page

    @override
    async def values(self, owner: str, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        return await self._journal.get(owner, keys)

    @override
    async def counts(self) -> dict[tuple[str, str], int]:
        return await self._journal.counts()

    @override
    async def begin_at(self, first: Seq) -> None:
        await self._journal.begin_at(first)

    @override
    async def put(self, blocks: Sequence[Block]) -> None:
        await self._journal.put(blocks)

    @override
    async def put_beside(self, owner: str, state: Mapping[bytes, bytes | None], counts: Mapping[str, int]) -> None:
        await self._journal.append([Append(connector=owner, state=state, counts=counts)])


async def move_of(journal: JournalEnd) -> Move | None:
    """What it says of itself."""
    said = (await journal.values(JOURNAL_OWNER, [JOURNAL_MOVE])).get(JOURNAL_MOVE)
    return None if said is None else decode_move(said)


async def say(journal: JournalEnd, move: Move | None) -> None:
    """Let it say that of itself."""
    said = None if move is None else encode_move(move).encode()
    await journal.put_beside(JOURNAL_OWNER, {JOURNAL_MOVE: said}, {})


def check_owner(found: str | None, move: Move, *, where: str) -> None:
    """Raise ``CdmdError`` where there is a journal with another identity."""
    if found not in {None, move.journal_id}:
        raise CdmdError(f"{where} holds another installation's journal: choose another journal.name, or another directory")


async def claim_journal(journal: JournalEnd, move: Move, *, where: str) -> bool:
    """Let it say that it is being filled; whether an earlier run had begun to.

    Raises ``CdmdError`` where it may not be written over.
    """
    facts, said = await journal.facts(), await move_of(journal)
    check_owner(facts.id, move, where=where)
    if said is None and (facts.head or {*await journal.owners()} - {JOURNAL_OWNER}):
        raise CdmdError(f"{where} already holds this installation's journal: nothing is written over it")
    await say(journal, move)
    return said is not None and not said.gone


async def copy_journal(source: JournalEnd, target: JournalEnd, *, resume: bool, told: Told) -> None:
    """Copy what is not there yet. Raises ``Damaged`` where an entry is not as it was written."""
    facts, there = await source.facts(), await target.facts()
    if not resume or not facts.first - 1 <= there.head <= facts.head:
        await target.begin_at(facts.first)
    at = (await target.facts()).head
    while blocks := await source.blocks(at):
        await target.put(blocks)
        at = blocks[-1].last
        told("journal: entries", at - facts.first + 1)
    for owner in sorted({*await source.owners(), *await target.owners()}):
        told(f"journal: state of {owner}", 0)
        await _copy_state(source, target, owner)
    await _copy_counts(source, target)


async def _copy_state(source: JournalEnd, target: JournalEnd, owner: str) -> None:
    async for page in source.pages(owner):
        wanted = dict(_moved(owner, page))
        there = await target.values(owner, list(wanted))
        changed: dict[bytes, bytes | None] = {key: value for key, value in wanted.items() if there.get(key) != value}
        if changed:
            await target.put_beside(owner, changed, {})
    async for page in target.pages(owner):
        keys = [key for key, _ in _moved(owner, page)]
        kept = await source.values(owner, keys)
        if gone := [key for key in keys if key not in kept]:
            await target.put_beside(owner, dict.fromkeys(gone), {})


async def _copy_counts(source: JournalEnd, target: JournalEnd) -> None:
    wanted, there = await source.counts(), await target.counts()
    for connector in sorted({connector for connector, _ in (*wanted, *there)}):
        names = {name for one, name in (*wanted, *there) if one == connector}
        lacking = {name: wanted.get((connector, name), 0) - there.get((connector, name), 0) for name in names}
        if any(lacking.values()):
            await target.put_beside(connector, {}, {name: value for name, value in lacking.items() if value})


async def tallies(journal: JournalEnd, *, told: Told) -> dict[str, Tally]:
    """What it comes to: entries with their numbers and times, state, and counters. Raises ``Damaged``."""
    facts = await journal.facts()
    at, entries, state = Seq(facts.first - 1), Tally(), Tally()
    while blocks := await journal.blocks(at):
        told("journal: entries are compared", at - facts.first + 1)
        entries = entries.plus(await run_sync(_entries, blocks))
        at = blocks[-1].last
    for owner in await journal.owners():
        async for page in journal.pages(owner):
            state = state.plus(tally([(owner, *row) for row in _moved(owner, page)]))
    counts = tally((*key, value) for key, value in (await journal.counts()).items() if value)
    return {"entries": entries, "up to": Tally(0, facts.head), "state": state, "counters": counts}


def _entries(blocks: Sequence[Block]) -> Tally:
    return tally(
        (number, block.written, encode_entry(entry))
        for block in blocks
        for number, entry in enumerate(unpack(block), block.first)
    )


def _moved(owner: str, rows: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """What a journal says of its own move is not moved."""
    return [row for row in rows if owner != JOURNAL_OWNER or row[0] != JOURNAL_MOVE]
