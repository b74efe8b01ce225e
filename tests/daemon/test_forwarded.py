"""What other nodes fetch, on its way into the journal of the node that leads; and what is known at their doors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from cdmd.contracts import Append
from cdmd.daemon.forwarded import Forwarded, answer_others, keep_door
from cdmd.daemon.parts import Parts
from cdmd.errors import Damaged, NotDurable
from cdmd.models import Count, Entry, Event, decode_entry, encode_entry
from tests.daemon.doubles import World, applied
from tests.store.samples import START

pytestmark = pytest.mark.anyio
CRM = '[connectors.crm]\ntype = "fetcher"\n'


def append(number: int, *, connector: str = "crm", **more: Any) -> Append:
    event = Event(
        id=f"e{number}", source=connector, type="seen", received=START, identifiers={"email": f"u{number}@example.com"}
    )
    counts = {Count.RECEIVED: 1, Count.ACCEPTED: 1}
    return Append(connector=connector, entries=[Entry(event)], encoded=[encode_entry(Entry(event))], counts=counts, **more)


async def test_it_is_journaled_counted_and_applied_as_if_it_had_come_here(tmp_path: Path) -> None:
    async with World(tmp_path, CRM).parts() as parts:
        assert await Forwarded(parts).take([append(1), append(2), Append(connector="crm", state={b"k": b"v"})]) == 1
        await applied(parts)
        assert (parts.tally.of("crm", Count.ACCEPTED), (await parts.store.counts())["crm", "applied"]) == (2, 2)
        assert await parts.journal.get("crm", [b"k"]) == {b"k": b"v"}


async def test_what_cannot_be_kept_is_not_taken_and_the_counts_are_asked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World(tmp_path, CRM).parts() as parts:

        async def fails(appends: Sequence[Append]) -> Any:
            raise NotDurable("the disk is full")

        monkeypatch.setattr(parts.journal, "append", fails)
        with pytest.raises(NotDurable, match="the disk is full"):
            await Forwarded(parts).take([append(1)])
        assert parts.tally.uncertain
        monkeypatch.setattr(parts.disk, "blocked", lambda: "the reserve is reached")
        with pytest.raises(NotDurable, match="the reserve is reached"):
            await Forwarded(parts).take([append(1)])
        monkeypatch.undo()


async def test_nothing_is_kept_of_who_is_suppressed_by_the_list_of_the_node_that_leads(tmp_path: Path) -> None:
    async with World(tmp_path, CRM).parts() as parts:
        await parts.privacy.listed.add([("email", "u1@example.com")], parts.kinds, erased=False)
        await Forwarded(parts).take([append(1), append(2)])
        await Forwarded(parts).take([append(3)])
        kept = [one.entry.event.identifiers for one in await parts.journal.read(parts.store.position, limit=9)] or None
        found = [decode_entry(encode_entry(one.entry)).event for one in await parts.journal.read(0, limit=9)]  # type: ignore[arg-type]
        assert [one.identifiers for one in found] == [{}, {"email": "u2@example.com"}, {"email": "u3@example.com"}]
        assert kept is None or kept[-1] == {"email": "u3@example.com"}


class Answered:
    """A journal that is asked by others; the first time no server answers."""

    def __init__(self, parts: Parts) -> None:
        self.failing, self.head = True, parts.journal.head
        self.began = anyio.Event()

    async def answer(self, take: Any, public: Any) -> None:
        if self.failing:
            self.failing = False
            raise NotDurable("no NATS server can be reached")
        self.began.set()
        await anyio.sleep_forever()


async def test_others_are_answered_again_where_no_server_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with World(tmp_path, CRM).parts() as parts:
        await answer_others(parts)  # a journal that nobody asks
        answered = Answered(parts)
        monkeypatch.setattr(parts, "journal", answered)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer_others, parts)
            with anyio.fail_after(10):
                await answered.began.wait()
            tasks.cancel_scope.cancel()
        monkeypatch.undo()


async def test_who_is_known_by_what_others_took_is_known_at_the_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with World(tmp_path, CRM + '[connectors.shop]\ntype = "told"\nknown_only = true\n').parts() as parts:
        held = anyio.Event()

        async def waits(*_: Any) -> Any:
            await held.wait()
            raise NotDurable("it is over")

        monkeypatch.setattr(parts.store, "apply", waits)
        read, failures = parts.journal.read, [Damaged("a page that cannot be read")]

        async def reads(after: Any, *, limit: int) -> Any:
            if limit == 2_000 and failures:
                raise failures.pop()
            return await read(after, limit=limit)

        monkeypatch.setattr(parts.journal, "read", reads)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep_door, parts)
            await parts.journal.append([append(1)])
            event = append(1, connector="shop").entries[0].event
            with anyio.fail_after(10):
                while await parts.door.unknown("shop", [event]):  # noqa: ASYNC110 - another task's doing
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        monkeypatch.undo()
        held.set()
