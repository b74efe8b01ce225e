"""Erasures in the running daemon: in force when they are answered, and complete in the end, whatever goes wrong between."""

import threading
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from cdmd.contracts import Append, Clock, Holding
from cdmd.daemon.erasing import COPIED, RESTORED
from cdmd.daemon.governing import Governing
from cdmd.daemon.parts import Parts
from cdmd.daemon.privacy import UNTOLD
from cdmd.daemon.rebuilding import Rebuilding
from cdmd.daemon.running import Running
from cdmd.daemon.splitting import Splitting
from cdmd.daemon.suppressing import OWNER
from cdmd.errors import NotDurable, NotFound, Overloaded, RequestFailed
from cdmd.models import Activity, Entry, Seq
from cdmd.privacy.erasure import Forgotten
from cdmd.store.forgetting import StoredForgetting
from tests.daemon.doubles import World, applied, record

pytestmark = pytest.mark.anyio
JOE, ANN = ("email", "joe@example.com"), ("email", "ann@example.com")
SHOP = '[connectors.shop]\ntype = "told"\n'


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd.daemon.removing._AFTER_FAILURE", 0.01)
    monkeypatch.setattr("cdmd.daemon.removing._PATIENCE", 0.2)
    monkeypatch.setattr("cdmd.daemon.removing._PAGE", 2)
    monkeypatch.setattr("cdmd.daemon.mentions._PAGE", 2)


async def come(parts: Parts, *emails: str, start: int = 1) -> None:
    await parts.connectors.get("shop").source.emit([record(f"e{n}", email=one) for n, one in enumerate(emails, start)])
    await applied(parts)


async def completed(parts: Parts) -> list[Any]:
    """All erasures, once none is under way."""
    while parts.privacy.erasures.pending:
        await parts.privacy.removing.tried.wait()
    return await Governing(parts).erasures()


async def test_an_erasure_is_in_force_when_it_is_answered_and_complete_in_the_end(tmp_path: Path) -> None:
    async with World(tmp_path, SHOP).parts() as parts:
        governing, running = Governing(parts), Running(parts)
        await come(parts, JOE[1], ANN[1], JOE[1])
        held = await governing.holdings(JOE)
        assert (held.identifiers, held.activities, held.waiting) == ({"email": 1}, 2, 0)
        asked = await governing.erase(JOE, by="ada")
        assert (asked.state, asked.profiles) == ("in force", [held.profile])
        assert await parts.store.profile(*JOE, activities=1) is None
        assert governing.suppressed() == 2
        status = await running.status()
        assert status.erasures.pending in {0, 1}
        (row,) = await completed(parts)
        assert (row.id, row.state, row.by) == (asked.id, "complete", "ada")
        assert row.erased == {"journal entries": 2, "activities": 2}
        assert not governing.conceals(Entry((await parts.journal.read(Seq(1), limit=1))[0].entry.event))
        assert (await governing.holdings(JOE)).profile is None
        assert (await running.status()).erasures.progress is None


async def test_whoever_asks_for_an_erasure_has_all_nodes_read_again_what_waits_for_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdmd.daemon.privacy.Lanes", object)  # any store is one of several
    async with World(tmp_path, SHOP).parts() as parts:
        await come(parts, JOE[1])
        told, refresh = list[bool](), parts.outbound.dispatcher.refresh

        def refreshed() -> None:
            told.append(True)
            refresh()

        monkeypatch.setattr(parts.outbound.dispatcher, "refresh", refreshed)
        await parts.privacy.erasures.ask(JOE, parts.kinds, by="an event")
        first = await parts.store.noted(UNTOLD)
        assert (told, first is None) == ([True], False), "hidden, and nothing of them is sent any more"
        await completed(parts)
        assert len(told) == 2
        assert await parts.store.noted(UNTOLD) not in {None, first}


async def test_whoever_is_known_by_a_digest_only_is_restricted_and_erased_by_what_it_is_of(tmp_path: Path) -> None:
    kinds = "[identity.identifiers]\nemail = { limit = 1 }\nemail_sha256 = {}\nuser_id = { priority = 1 }\n"
    async with World(tmp_path, SHOP + kinds).parts() as parts:
        governing, digest = Governing(parts), parts.kinds.digests(JOE)[0]
        emit = parts.connectors.get("shop").source.emit
        await emit([record("a", None, email_sha256=digest[1], user_id="joe"), record("b", ANN[1])])
        await applied(parts)
        held = await governing.holdings(JOE)
        assert (held.identifiers, held.activities) == ({"email_sha256": 1, "user_id": 1}, 1)
        assert (await governing.restrict(JOE, restricted=True)).profile == held.profile
        with pytest.raises(NotFound):
            await governing.restrict(("email", "eve@example.com"), restricted=True)
        asked = await governing.erase(JOE, by="ada")
        assert asked.profiles == [held.profile]
        assert await parts.store.profile("user_id", "joe", activities=0) is None
        (row,) = await completed(parts)
        assert row.erased["activities"] == 1
        assert await parts.store.profile(*ANN, activities=0) is not None
        await emit([record("c", None, user_id="joe")])
        await applied(parts)
        assert await parts.store.profile("user_id", "joe", activities=0) is None


async def test_a_restriction_is_of_everybody_who_is_known_by_the_value_or_a_digest_of_it(tmp_path: Path) -> None:
    world = World(tmp_path, SHOP)
    async with world.parts() as parts:
        await come(parts, JOE[1])
    world.configure(SHOP + "[identity.identifiers]\nemail = {}\nemail_sha256 = {}\n")
    async with world.parts() as parts:
        digest = parts.kinds.digests(JOE)[0]
        await parts.connectors.get("shop").source.emit([record("a", None, email_sha256=digest[1])])
        await applied(parts)
        first = await Governing(parts).restrict(JOE, restricted=True)
        found = [await parts.store.profile(*one, activities=0) for one in (JOE, digest)]
        assert len({one.key for one in found if one is not None}) == 2
        assert [one is not None and one.state.restricted is not None for one in found] == [True, True]
        assert first.changed
        assert not (await Governing(parts).restrict(JOE, restricted=True)).changed


async def test_what_an_earlier_run_left_in_force_is_concealed_before_anything_listens(tmp_path: Path) -> None:
    world = World(tmp_path, SHOP)
    async with world.parts() as parts:
        await come(parts, JOE[1], ANN[1])
        entry = (await parts.journal.read(Seq(0), limit=1))[0].entry

        async def refuse(pairs: object) -> None:
            raise NotDurable("the disk is full")

        parts.store.forgetting.hide = refuse  # type: ignore[method-assign,assignment]
        with pytest.raises(NotDurable):
            await Governing(parts).erase(JOE, by="ada")
        assert parts.privacy.conceals(entry), "what is on the disk is in force"
    async with world.parts() as parts:
        assert await parts.store.profile(*JOE, activities=1) is None
        (row,) = await completed(parts)
        assert row.state == "complete"
        assert not parts.privacy.conceals(entry)


async def test_after_a_restore_those_who_were_erased_before_are_erased_again(tmp_path: Path) -> None:
    world = World(tmp_path, SHOP)
    async with world.parts() as parts:
        await come(parts, JOE[1], ANN[1])
        await Governing(parts).suppress(ANN)
        await parts.privacy.listed.add([JOE], parts.kinds, erased=True, beside={RESTORED: b"1"})
    async with world.parts() as parts:
        assert await parts.store.profile(*JOE, activities=1) is None
        assert await parts.store.profile(*ANN, activities=1) is not None, "who is only suppressed stays as they are"
        (row,) = await completed(parts)
        assert (row.state, row.by) == ("complete", "restore")
    async with world.parts() as parts:
        assert not parts.privacy.erasures.pending
        await parts.journal.append([Append(connector=OWNER, state={RESTORED: b"1"})])
    async with world.parts() as parts:
        assert not parts.privacy.erasures.pending, "nobody of them is known"


async def test_many_who_are_erased_again_are_hidden_a_little_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, hidden, hide = World(tmp_path, SHOP), list[int](), StoredForgetting.hide
    async with world.parts() as parts:
        await come(parts, JOE[1], ANN[1])
        await parts.privacy.listed.add([JOE, ANN], parts.kinds, erased=True, beside={RESTORED: b"1"})

    async def hiding(self: StoredForgetting, pairs: Any) -> Any:
        hidden.append(len(pairs))
        return await hide(self, pairs)

    monkeypatch.setattr("cdmd.daemon.erasing._AT_ONCE", 1)
    monkeypatch.setattr(StoredForgetting, "hide", hiding)
    async with world.parts() as parts:
        assert hidden == [1, 1]
        assert [await parts.store.profile(*one, activities=0) for one in (JOE, ANN)] == [None, None]
        await completed(parts)


async def test_one_who_joins_while_an_erasure_is_asked_for_is_suppressed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World(tmp_path, SHOP).parts() as parts:
        await come(parts, JOE[1])
        hide = parts.store.forgetting.hide

        async def hiding(pairs: Any) -> Any:
            hidden = await hide(pairs)
            return hidden._replace(pairs=[*hidden.pairs, ANN])

        monkeypatch.setattr(parts.store.forgetting, "hide", hiding)
        await Governing(parts).erase(JOE, by="ada")
        assert parts.privacy.suppressions.holds(ANN)
        await completed(parts)


class _FullDisk:
    """A journal's ``revise`` that fails until it is ``full`` no more."""

    def __init__(self, revise: Callable[..., Awaitable[Any]]) -> None:
        self._revise, self.full, self._again = revise, True, anyio.Event()

    async def revise(self, *arguments: Any, **named: Any) -> Any:
        if self.full:
            self._again.set()
            raise NotDurable("the disk is full")
        return await self._revise(*arguments, **named)

    async def asked(self) -> None:
        """Once more from now on."""
        self._again = anyio.Event()
        await self._again.wait()


async def test_a_failure_is_named_and_the_erasure_goes_on_when_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World(tmp_path, SHOP).parts() as parts:
        await come(parts, JOE[1])
        disk = _FullDisk(parts.journal.revise)
        monkeypatch.setattr(parts.journal, "revise", disk.revise)
        monkeypatch.setattr(parts.store.forgetting, "settled", _busy_once(parts.store.forgetting.settled))
        await Governing(parts).erase(JOE, by="ada")
        for _ in range(2):
            await disk.asked()
        warnings = (await Running(parts).status()).warnings
        assert warnings == ["an erasure is in force and not complete: the disk is full"]
        disk.full = False
        (row,) = await completed(parts)
        assert row.state == "complete"
        assert parts.privacy.removing.problem is None


async def test_the_reports_of_people_who_went_in_one_pass_say_how_many_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World(tmp_path, SHOP).parts() as parts:
        await come(parts, JOE[1], ANN[1])
        disk = _FullDisk(parts.journal.revise)
        monkeypatch.setattr(parts.journal, "revise", disk.revise)
        for one in (JOE, ANN):
            await Governing(parts).erase(one, by="ada")
        for _ in range(2):
            await disk.asked()
        disk.full = False
        for row in await completed(parts):
            assert row.erased == {"journal entries": 2, "activities": 2, "people in the same pass": 2}


def _busy_once(settled: Any) -> Any:
    busy = [True]

    async def settling() -> bool:
        return not busy.pop() if busy else bool(await settled())

    return settling


async def test_what_connectors_cannot_erase_is_in_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "before-restore-1").mkdir()
    async with World(tmp_path, SHOP + '[connectors.other]\ntype = "told"\n').parts() as parts:
        await come(parts, JOE[1])
        erased: list[Collection[str]] = []

        class Erasing:
            async def erase(self, values: Collection[str], source: Any) -> int:
                erased.append(values)
                if parts.privacy.erasures.pending and len(erased) == 1:
                    return 3
                if len(erased) == 2:
                    raise RequestFailed("joe@example.com")  # an error of ours, and none of our disk
                if len(erased) == 3:
                    await anyio.sleep_forever()
                raise Overloaded("the queue before the journal is full")

        live = parts.connectors.get("shop")
        live.connector = Erasing()
        await parts.journal.append([Append(connector=name, state={b"k": b"joe@example.com"}) for name in ("gone", "other")])
        await Governing(parts).erase(JOE, by="ada")
        rows = await completed(parts)
        assert rows[0].state == "partly complete"
        assert rows[0].erased["connectors' rows"] == 3
        left = "\n".join(rows[0].left)
        assert "1 row of gone still names the person: drop what is kept of it with: cdmctl connectors forget gone" in left
        assert "1 row of other still names the person: see its guide" in left
        assert "before-restore-1 keeps what was there before a restore: remove it" in left
        await Governing(parts).erase(ANN, by="ada")
        rows = await completed(parts)
        assert "shop did not erase what it keeps (it raised cdmd.RequestFailed" in rows[0].left[0]
        assert "joe@" not in str(rows)
        await Governing(parts).erase(ANN, by="ada")
        rows = await completed(parts)
        assert "took longer than 0.2 s" in rows[0].left[0]
        await Governing(parts).erase(ANN, by="ada")
        while parts.privacy.removing.problem is None:
            await parts.privacy.removing.tried.wait()
        live.connector = object()
        assert len(await completed(parts)) == 4


async def test_activities_of_others_that_named_the_person_are_counted_apart_from_those_that_go(tmp_path: Path) -> None:
    async with World(tmp_path, SHOP).parts() as parts:
        for name, email in (("e1", JOE[1]), ("e2", ANN[1])):
            shared = record(name)
            value = {**shared.value, "identifiers": {"email": email, "anonymous_id": "tv-1"}}
            await parts.connectors.get("shop").source.emit([msgspec.structs.replace(shared, value=value)])
            await applied(parts)
        held = await Governing(parts).holdings(JOE)
        await Governing(parts).erase(JOE, by="ada")
        (row,) = await completed(parts)
        reported = row.erased["activities"], row.erased["activities of others that named them"]
        assert (held.activities, held.others) == reported == (1, 1)


@pytest.mark.parametrize("then", [(), ("merged",), ("merged", "rebuilt")])
async def test_no_digest_stays_of_whoever_was_split_from_another(tmp_path: Path, then: Collection[str]) -> None:
    async with World(tmp_path, SHOP).parts() as parts:

        async def met(name: str, **identifiers: str) -> None:
            one = record(name)
            value = {**one.value, "identifiers": identifiers}
            await parts.connectors.get("shop").source.emit([msgspec.structs.replace(one, value=value)])
            await applied(parts)

        await met("u1", user_id="u1")
        await come(parts, JOE[1], ANN[1])
        assert (await Splitting(parts, journal_id=parts.journal.id).split(ANN, JOE, apply=True)).applied
        if "merged" in then:
            await met("e9", user_id="u1", email=ANN[1])
        if "rebuilt" in then:
            rebuilding = Rebuilding(parts, tmp_path / "rehearsal", journal_id=parts.journal.id)
            async with anyio.create_task_group() as tasks:
                await tasks.start(rebuilding.run)
                await rebuilding.rebuild()
                while rebuilding.now().state == "running":  # noqa: ASYNC110 - whoever asks over the socket does the same
                    await anyio.sleep(0.001)
                tasks.cancel_scope.cancel()
            assert rebuilding.now().state == "done"
        found = await parts.store.profile(*ANN, activities=0)
        assert found is not None
        assert [len(merge.before.apart) for merge in found.merges] == [1] * ("merged" in then)
        digest = parts.kinds.splits.digest(JOE).to_bytes(8, "big", signed=True)
        assert _files_with(digest, tmp_path)
        await Governing(parts).erase(JOE, by="ada")
        (row,) = await completed(parts)
        assert row.erased["others kept apart from them"] == 1 + ("merged" in then)
        assert _files_with(digest, tmp_path) == []
        assert await parts.store.profile(*ANN, activities=0) is not None


def _files_with(text: bytes, folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


async def test_what_would_be_erased_says_so_where_there_is_too_much_to_look_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdmd.daemon.governing._PATIENCE", 0.0)
    async with World(tmp_path, SHOP).parts() as parts:
        await come(parts, JOE[1])
        held = await Governing(parts).holdings(JOE)
        assert (held.activities, held.others) == (1, None)


async def test_what_is_looked_through_holds_up_nobody_who_sends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads, rests, decide = set[int](), list[float](), Forgotten.left_of_activity

    def deciding(self: Forgotten, one: Activity) -> Activity | None:
        threads.add(threading.get_ident())
        return decide(self, one)

    async def resting(clock: Clock, began: float) -> None:
        rests.append(began)

    async with World(tmp_path, SHOP).parts() as parts:
        await come(parts, JOE[1], *[ANN[1]] * 7)
        monkeypatch.setattr(Forgotten, "left_of_activity", deciding)
        monkeypatch.setattr(Forgotten, "holding", property(lambda self: Holding(None)))
        monkeypatch.setattr("cdmd.daemon.mentions.rest", resting)
        assert (await Governing(parts).holdings(JOE)).others == 0
        assert threads
        assert threading.get_ident() not in threads, "each is decided beside the loop"
        assert len(rests) == 4, "one after each page"


async def test_what_would_be_erased_counts_no_digest_that_never_arrived(tmp_path: Path) -> None:
    kinds = "[identity.identifiers]\nemail = { priority = 1 }\nemail_sha256 = { priority = 2 }\n"
    async with World(tmp_path, SHOP + kinds).parts() as parts:
        await come(parts, JOE[1])
        assert (await Governing(parts).holdings(JOE)).identifiers == {"email": 1}


async def test_backups_are_remembered_and_only_so_many_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd.daemon.erasing._MOST_REPORTS", 1)
    async with World(tmp_path, SHOP).parts() as parts:
        running = Running(parts)
        await running.backup(tmp_path / "early.tar")
        await come(parts, JOE[1])
        await running.backup(tmp_path / "late.tar")
        assert len([key async for key, _ in parts.journal.scan(OWNER, COPIED)]) == 2
        held = await Governing(parts).holdings(JOE)
        assert held.copies == [str(tmp_path / "late.tar")]
        for _ in range(2):
            await Governing(parts).erase(JOE, by="ada")
            await completed(parts)
        (row,) = await Governing(parts).erasures()
        assert [Path(one.path).name for one in row.copies] == ["early.tar", "late.tar"], "of a stranger nobody knows since when"
