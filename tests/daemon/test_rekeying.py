"""What splits said without a key is keyed, and holds before and afterwards; nobody finds it out by trying addresses."""

from pathlib import Path

import anyio
import msgspec
import pytest

from cdmd.daemon.parts import Parts
from cdmd.daemon.rekeying import Rekeying
from cdmd.daemon.running import Running
from cdmd.daemon.splitting import Splitting
from cdmd.errors import BadArguments, NotDurable
from cdmd.identity.identifiers import Pair
from cdmd.identity.keeping_apart import Splits
from tests.daemon.doubles import World, applied, record
from tests.daemon.older import files_with, plain, written_before

pytestmark = pytest.mark.anyio
JOE, ANN, TV, USER = ("email", "joe@example.com"), ("email", "ann@example.com"), ("anonymous_id", "tv"), ("user_id", "u1")
SHOP = '[connectors.shop]\ntype = "told"\n'
KINDS = "[identity.identifiers]\nuser_id = {}\nanonymous_id = { shared = false }\n"
OWN = '[store]\nprocess = "own"\n'


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd.daemon.rekeying._PAUSE", 0.01)
    monkeypatch.setattr("cdmd.daemon.rekeying._BUSY", 0.01)
    monkeypatch.setattr("cdmd.daemon.mentions._PAGE", 1)


async def met(parts: Parts, name: str, *pairs: Pair) -> None:
    one = record(name)
    value = {**one.value, "identifiers": dict(pairs)}
    await parts.connectors.get("shop").source.emit([msgspec.structs.replace(one, value=value)])
    await applied(parts)


async def are_one(parts: Parts, first: Pair, second: Pair) -> bool:
    found = [await parts.store.profile(*one, activities=0) for one in (first, second)]
    return len({one.key for one in found if one is not None}) == 1


@pytest.mark.parametrize("store", ["", OWN], ids=["within", "own"])
async def test_what_a_split_says_cannot_be_found_by_trying_addresses_and_holds_after_a_reload(
    tmp_path: Path, store: str
) -> None:
    world = World(tmp_path, SHOP + store + KINDS + "email = {}\n")
    async with world.parts() as parts:
        await met(parts, "1", JOE, TV)
        await met(parts, "2", ANN, TV)
        await Splitting(parts, journal_id=parts.journal.id).split(ANN, JOE, apply=True)
        keyed = parts.kinds.splits.digest(JOE)
        assert files_with(keyed, tmp_path / "state"), "it is looked for in the form that it is kept in"
        for tried in (plain(JOE), Splits().digest(JOE), Splits(b"another key").digest(JOE)):
            assert files_with(tried, tmp_path / "state") == []
        world.configure(SHOP + store + KINDS + "email = { limit = 9 }\n")
        await Running(parts).reload()
        await met(parts, "3", ANN, TV)
        await met(parts, "4", JOE, TV)
        assert not await are_one(parts, ANN, JOE)
    async with world.parts() as parts:
        assert parts.kinds.splits.digest(JOE) == keyed, "after a restart the same stands for the same"


@pytest.mark.parametrize("store", ["", OWN], ids=["within", "own"])
async def test_a_split_of_an_earlier_version_holds_and_is_keyed_in_the_background(tmp_path: Path, store: str) -> None:
    world = World(tmp_path, SHOP + store + KINDS + "email = {}\n")
    async with world.parts() as parts:
        await met(parts, "1", USER)
        await met(parts, "2", JOE)
        await met(parts, "3", ANN)
        splitting = Splitting(parts, journal_id=parts.journal.id)
        await splitting.split(ANN, JOE, apply=True)
        await met(parts, "4", ANN, USER)  # what Ann's profile says goes to the older one, and stays in the merge
        await written_before(parts.store, parts.kinds.splits, [JOE, ANN])
        assert files_with(plain(JOE), tmp_path / "state")
        await met(parts, "5", ANN, TV)
        await met(parts, "6", JOE, TV)
        assert not await are_one(parts, ANN, JOE), "before it is keyed"
    async with world.parts() as parts:
        await parts.privacy.rekeying.rekey()
        for one in (JOE, ANN):
            assert files_with(plain(one), tmp_path / "state") == []
        await met(parts, "7", JOE, TV)
        assert not await are_one(parts, ANN, JOE), "afterwards"
        assert await parts.store.verify() == []
        splitting = Splitting(parts, journal_id=parts.journal.id)
        await splitting.lift(ANN, JOE)
        with pytest.raises(BadArguments, match="not kept apart"):
            await splitting.lift(ANN, JOE)


async def test_it_is_tried_again_while_the_store_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with World(tmp_path, SHOP).parts() as parts:
        noted, answers = parts.store.noted, [NotDurable("the disk does not answer")]

        async def unsure(name: str) -> str | None:
            if answers:
                raise answers.pop()
            return await noted(name)

        monkeypatch.setattr(parts.store, "noted", unsure)
        async with anyio.create_task_group() as tasks:
            await tasks.start(Rekeying(parts.store, kinds=lambda: parts.kinds, clock=parts.clock).run)
        assert (answers, await noted("splits")) == ([], "keyed")
