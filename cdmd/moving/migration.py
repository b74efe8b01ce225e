"""The command's steps in order (see ``cdmd.moving``)."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from anyio.to_thread import run_sync

from cdmd.contracts import Clock
from cdmd.errors import BadArguments, CdmdError, InUse, NotFound
from cdmd.kit.frames import leaf
from cdmd.models import Seq, show_time
from cdmd.moving.beside import check_target, copy_feeds, fetch_feeds, take_along
from cdmd.moving.ending import Whole, put_in_place, read_whole, write_whole
from cdmd.moving.journals import JournalEnd, check_owner, claim_journal, copy_journal, move_of, say, tallies
from cdmd.moving.places import (
    Installation,
    asked,
    look,
    opened,
    read_store,
    source_journal,
    target_journal,
    write_store,
)
from cdmd.moving.stores import Difference, Told, claim, compare_stores, copy_store, copy_table
from cdmd.store.bulk import Bulk, Tally, moved, reached
from cdmd.store.moves import MOVE, Move, decode_move, encode_move

_DIFFERENT: Final = "nothing was changed where it came from; run the command again, and if it says this again: cdmd verify"


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """What was moved: what each part comes to, whether an earlier run had begun, where files lie that others stand in for."""

    parts: Mapping[str, Mapping[str, Tally]]
    resumed: bool
    aside: Path | None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """From where to where. ``told`` is called from threads."""

    source: Installation
    target: Installation
    clock: Clock
    told: Told

    @property
    def stores(self) -> bool:
        """Whether the store is moved."""
        return self.source.store_place != self.target.store_place

    @property
    def journals(self) -> bool:
        """Whether the journal is moved."""
        return self.source.journal_place != self.target.journal_place

    @property
    def elsewhere(self) -> bool:
        """Whether the state directory is another one."""
        return self.source.root != self.target.root

    @property
    def places(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """Store and journal before and after."""
        source, target = self.source, self.target
        return (source.store_place, source.journal_place), (target.store_place, target.journal_place)

    @property
    def mark(self) -> Path:
        """The mark of the source's journal, where that lies on servers."""
        return self.target.growing.folder / "mark.source"

    def move(self, journal_id: str, *, gone: bool) -> Move:
        """What is said of it in the source (``gone``) or the target."""
        end = self.target if gone else self.source
        both = [place for place, moves in ((end.store_place, self.stores), (end.journal_place, self.journals)) if moves]
        return Move(journal_id=journal_id, gone=gone, other=" and ".join(both), at=show_time(self.clock.now()))


async def migrate(plan: Plan) -> Moved:
    """Move all of it.

    Raises ``InUse`` while a daemon uses one of them, ``BadArguments`` where both are the same place, ``NotFound`` where there
    is nothing to be moved, and ``CdmdError``: the target holds something else, or what arrived there is not what was sent.
    """
    await run_sync(check, plan)
    try:
        async with _held(plan):
            return await _migrate(plan)
    except BaseExceptionGroup as group:
        raise leaf(group) from group
    except OSError as error:
        raise CdmdError(f"{error.filename}: {error.strerror}; run the command again, it goes on where it was") from error


def check(plan: Plan) -> None:
    """Raises ``BadArguments`` and ``NotFound`` where there is nothing to be moved."""
    if not plan.stores and not plan.journals:
        (store, journal), _ = plan.places
        raise BadArguments(f"both configurations name {store} and {journal}: there is nothing to move")
    if not plan.source.root.is_dir():
        raise NotFound(f"there is no {plan.source.root}")


@asynccontextmanager
async def _held(plan: Plan) -> AsyncIterator[None]:
    """Nobody uses either of them; where what is moved here grows is there."""
    folder = plan.target.growing.folder
    async with AsyncExitStack() as stack:
        for directory in dict.fromkeys((plan.source.root, plan.target.root)):
            await stack.enter_async_context(plan.source.directory._replace(root=directory).hold())
        await run_sync(partial(folder.mkdir, mode=0o700, exist_ok=True))
        try:
            yield
        finally:
            with suppress(OSError):  # something grows there still, or all is in place
                await run_sync(folder.rmdir)


async def _migrate(plan: Plan) -> Moved:
    await _check_source(plan)
    whole, resumed = await run_sync(read_whole, plan.target.growing), True
    parts: Mapping[str, Mapping[str, Tally]] = {}
    if whole is not None and plan.places != (whole.source, whole.target):
        raise CdmdError(
            f"a move from {' and '.join(whole.source)} to {plan.target.root} is not finished: finish that one first"
        )
    if whole is None or not await _gone(plan):
        whole, parts, resumed = await _copied(plan)
        await _check_source(plan)  # nothing kept a node out that only applies
        await run_sync(write_whole, plan.target.growing, whole)
    await _said(plan, plan.move(whole.journal_id, gone=True))
    placing = partial(put_in_place, plan.target, whole, stores=plan.stores, journals=plan.journals)
    return Moved(parts=parts, resumed=resumed, aside=await run_sync(placing))


async def _check_source(plan: Plan) -> None:
    """Raises ``InUse`` while nodes apply, and ``CdmdError`` while what they applied cannot be moved."""
    if plan.source.store.url is not None:
        async with opened(partial(read_store, plan.source)) as store:
            await asked(partial(_check_store, plan), store)


def _check_store(plan: Plan, store: Bulk) -> None:
    if users := store.users():
        raise InUse(
            f"the store at {plan.source.store_place} is used by {', '.join(users)}: stop all nodes, and run the command again "
            "(one that was killed counts for some seconds more)"
        )
    if plan.stores and store.meta():
        reached(store)


# ---- copied and compared -----------------------------------------------------------------------------------------------


async def _copied(plan: Plan) -> tuple[Whole, dict[str, Mapping[str, Tally]], bool]:
    parts, head = dict[str, Mapping[str, Tally]](), Seq(0)
    resumed = False
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(opened(partial(read_store, plan.source)))
        move = plan.move(await asked(partial(identity, plan.source), store), gone=False)
        await run_sync(check_target, plan.source, plan.target, move)
        if plan.elsewhere:
            await run_sync(take_along, plan.source, plan.target)
            parts["feeds"] = await run_sync(copy_feeds, plan.source.directory.feeds, plan.target.growing.feeds)
        if plan.source.store.url is not None and plan.source.journal.url is not None:
            parts["feeds"] = await run_sync(fetch_feeds, plan.source, plan.target.growing.feeds)
        other, ends = await _targets(plan, move, stack)
        # Whoever may not be written over is found out before anything is.
        goes_on = await claim_journal(ends[1], move, where=plan.target.journal_place) if ends is not None else False
        if other is not None:
            resumed = await asked(partial(_claim, plan, move), other)
            parts["store"] = await asked(partial(_stored, move=move, resume=resumed, told=plan.told), store, other)
        if ends is not None:
            parts["journal"] = await _journaled(*ends, resume=goes_on, told=plan.told)
            head = (await ends[0].facts()).head
    source, target = plan.places
    return Whole(journal_id=move.journal_id, head=head, source=source, target=target), parts, resumed or goes_on


async def _targets(plan: Plan, move: Move, stack: AsyncExitStack) -> tuple[Bulk | None, tuple[JournalEnd, JournalEnd] | None]:
    """Open what is written, and the journal that it comes from."""
    files, ends, other = plan.target.growing, None, None
    if plan.journals and plan.target.journal.url is not None:
        seen = await look(plan.target)
        check_owner(seen.id if seen is not None else None, move, where=plan.target.journal_place)
    if plan.journals or plan.source.journal.url is not None:
        # Where it is not moved, too: whoever writes it has the store open.
        source = await stack.enter_async_context(source_journal(plan.source, clock=plan.clock, mark=plan.mark))
        if plan.journals:
            opening = target_journal(
                plan.target, journal_id=move.journal_id, clock=plan.clock, path=files.journal, mark=files.mark
            )
            ends = source, await stack.enter_async_context(opening)
    if plan.stores:
        other = await stack.enter_async_context(opened(partial(write_store, plan.target, files.store)))
    return other, ends


def identity(source: Installation, store: Bulk) -> str:
    """Whose store it is. Raises ``CdmdError`` where it was moved already, and ``NotFound`` where there is none."""
    meta = store.meta()
    if MOVE in meta:
        raise CdmdError(f"the store at {source.store_place} {decode_move(meta[MOVE]).sentence}")
    if "journal_id" not in meta:
        raise NotFound(f"there is no store at {source.store_place}")
    return meta["journal_id"]


def _claim(plan: Plan, move: Move, target: Bulk) -> bool:
    return claim(target.meta(), move, where=plan.target.store_place)


def _stored(source: Bulk, target: Bulk, *, move: Move, resume: bool, told: Told) -> dict[str, Tally]:
    """Copied, and compared; what was there of an earlier run and is another one meanwhile is copied once more."""
    copy_store(source, target, move, resume=resume, told=told)
    found, differences = compare_stores(source, target, told=told)
    if differences and resume:
        tables = moved(source.tables(), target.tables())
        for one in differences:
            target.empty(one.name)
            copy_table(source, target, one.name, tables[one.name], told=told)
        found, differences = compare_stores(source, target, told=told)
    _refuse(differences)
    return found


async def _journaled(source: JournalEnd, target: JournalEnd, *, resume: bool, told: Told) -> dict[str, Tally]:
    await copy_journal(source, target, resume=resume, told=told)
    found, differences = await _compared(source, target, told=told)
    if differences and resume:
        await copy_journal(source, target, resume=False, told=told)
        found, differences = await _compared(source, target, told=told)
    _refuse(differences)
    return found


async def _compared(source: JournalEnd, target: JournalEnd, *, told: Told) -> tuple[dict[str, Tally], list[Difference]]:
    mine, theirs = await tallies(source, told=told), await tallies(target, told=told)
    return mine, [Difference(f"the journal's {name}", mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]]


def _refuse(differences: list[Difference]) -> None:
    if differences:
        raise CdmdError(f"what arrived is not what was sent: {'; '.join(map(str, differences))}; {_DIFFERENT}")


# ---- the end -------------------------------------------------------------------------------------------------------------


async def _gone(plan: Plan) -> bool:
    """Whether what was compared cannot have changed: a part of the source says that it was moved, or lies aside."""
    source = plan.source
    if plan.stores:
        if source.store.url is None and not await run_sync(source.directory.store.exists):
            return True
        async with opened(partial(read_store, source)) as store:
            return MOVE in await asked(_meta, store)
    if source.journal.url is None and not await run_sync(source.directory.journal.exists):
        return True
    async with source_journal(source, clock=plan.clock, mark=plan.mark) as journal:
        return await move_of(journal) is not None


def _meta(store: Bulk) -> Mapping[str, str]:
    return store.meta()


async def _said(plan: Plan, gone: Move) -> None:
    """The old one says that it was moved, then the new one no longer that it is being filled."""
    source, target, files = plan.source, plan.target, plan.target.growing
    if plan.stores:
        for one, path, said in ((source, source.directory.store, encode_move(gone)), (target, files.store, None)):
            if one.store.url is not None or await run_sync(path.exists):
                async with opened(partial(write_store, one, path)) as store:
                    await asked(partial(_say, said), store)
    if plan.journals:
        places = ((source, source.directory.journal, plan.mark, gone), (target, files.journal, files.mark, None))
        for one, path, mark, move in places:
            if one.journal.url is not None or await run_sync(path.exists):
                async with target_journal(one, journal_id=gone.journal_id, clock=plan.clock, path=path, mark=mark) as journal:
                    await say(journal, move)


def _say(said: str | None, store: Bulk) -> None:
    store.say(said)
