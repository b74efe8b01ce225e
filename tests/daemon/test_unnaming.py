"""What an erasure leaves of somebody in what is kept of others, whose events named them: nothing."""

from pathlib import Path
from typing import Any

import pytest

from cdmd.contracts import ProfileFound
from cdmd.daemon.governing import Governing
from cdmd.daemon.parts import Parts
from cdmd.daemon.splitting import Splitting
from cdmd.models import Delivery, Record, to_micros
from tests.daemon.doubles import World, applied

pytestmark = pytest.mark.anyio
MAIL = "joe@example.com"
CONFIG = """
[network]
allow_addresses = ["127.0.0.0/8"]
[connectors.shop]
type = "told"
[identity.identifiers]
customer_no = { priority = 1, limit = 1 }
email = { priority = 2 }
card = { priority = 1, limit = 1 }
[indicators.last_to]
on = "*"
value = "{data.to}"
compute = "last"
[indicators.first_to]
on = "*"
value = "{data.to}"
compute = "first"
window = "30d"
[indicators.different]
on = "*"
value = "{data.to}"
compute = "distinct"
[audiences.reachable]
where = "has(profile.traits.mail)"
[targets.crm]
type = "webhook"
url = "http://127.0.0.1:9/x"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
events = ["order.*", "audience.*"]
fields = ["traits", "event.data"]
"""


def happened(world: World, id: str, *, traits: Any = None, data: Any = None, **identifiers: str) -> Record:
    value = {"id": id, "type": "order.paid", "identifiers": identifiers, "traits": traits or {}, "data": data or {}}
    return Record(value=value, received=world.clock.now(), fallback_id=id)


async def come(parts: Parts, *records: Record) -> None:
    for one in records:
        await parts.connectors.get("shop").source.emit([one])
        await applied(parts)


async def erased(parts: Parts) -> dict[str, int]:
    """Joe is erased; how many of what went."""
    await Governing(parts).erase(("email", MAIL), by="ada")
    while parts.privacy.erasures.pending:
        await parts.privacy.removing.tried.wait()
    (row,) = await Governing(parts).erasures()
    assert (row.state, row.left) == ("complete", [])
    return row.erased


async def ann(parts: Parts) -> ProfileFound:
    found = await parts.store.profile("customer_no", "ann-1", activities=9)
    assert found is not None
    return found


def files_with(text: str, folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes().lower()]


async def test_what_others_say_of_whoever_their_events_named_goes_however_deep_it_lies(tmp_path: Path) -> None:
    """Joe and Ann, kept apart by their customer numbers, share an address; hers also says it elsewhere."""
    world = World(tmp_path, CONFIG)
    async with world.parts() as parts:
        data = {"to": "Joe@Example.com", "lines": [{"for": MAIL, "n": 1}, MAIL, f"ask {MAIL}"], MAIL: True}
        await come(
            parts,
            happened(world, "1", customer_no="joe-1", email=MAIL),
            happened(world, "2", customer_no="ann-1", data={"to": "shop"}, traits={"city": "Umeå"}),
            happened(
                world, "3", customer_no="ann-1", email=MAIL, data=data, traits={"mail": MAIL, "who": {"m": MAIL, "n": None}}
            ),
        )
        assert list((await ann(parts)).state.audiences) == ["reachable"]
        assert files_with(MAIL, tmp_path / "state")
        went = await erased(parts)
        assert went["profiles of others that named them"] == went["activities of others that named them"] == 1
        found = await ann(parts)
        assert found.activities[0].event.data == {"lines": [{"n": 1}]}
        assert parts.projection.shown_traits(found.state) == {"city": "Umeå", "who": {"n": None}}
        shown = parts.projection.shown_indicators(found.state, to_micros(world.clock.now()))
        assert shown == {"first_to": "shop", "different": 1}
        assert found.state.audiences == {}, "judged anew"
        assert files_with(MAIL, tmp_path / "state") == []
        assert await parts.store.verify() == []


async def test_what_was_merged_meanwhile_says_nothing_of_them_either(tmp_path: Path) -> None:
    world = World(tmp_path, CONFIG)
    async with world.parts() as parts:
        await come(
            parts,
            happened(world, "1", customer_no="joe-1", card="joe", email=MAIL),
            happened(world, "2", customer_no="ann-1"),
            happened(world, "3", card="ann", email=MAIL, data={"to": MAIL}, traits={"mail": MAIL, "age": 40}),
            happened(world, "4", customer_no="ann-1", card="ann"),
        )
        found = await ann(parts)
        assert [merge.before.traits.keys() for merge in found.merges] == [{"mail", "age"}]
        await erased(parts)
        found = await ann(parts)
        assert [merge.before.traits.keys() for merge in found.merges] == [{"age"}]
        assert parts.projection.shown_traits(found.state) == {"age": 40}
        assert files_with(MAIL, tmp_path / "state") == []
        assert await parts.store.verify() == []


async def test_whoever_is_given_such_an_event_by_a_split_meanwhile_says_nothing_of_them_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, card = World(tmp_path, CONFIG), ("card", "ann")
    async with world.parts() as parts:
        await come(
            parts,
            happened(world, "1", customer_no="joe-1", card="joe", email=MAIL),
            happened(world, "2", customer_no="ann-1"),
            happened(world, "3", customer_no="ann-1", card="ann"),
            happened(world, "4", card="ann", email=MAIL, traits={"mail": MAIL, "age": 40}),
        )
        revise, split = parts.journal.revise, Splitting(parts, journal_id=parts.journal.id).split

        async def revising(*given: Any, **named: Any) -> Any:
            monkeypatch.setattr(parts.journal, "revise", revise)
            assert (await split(("customer_no", "ann-1"), card, apply=True)).applied
            return await revise(*given, **named)

        monkeypatch.setattr(parts.journal, "revise", revising)
        await erased(parts)
        found = await parts.store.profile(*card, activities=9)
        assert found is not None
        assert parts.projection.shown_traits(found.state) == {"age": 40}
        assert files_with(MAIL, tmp_path / "state") == []


async def test_what_is_told_of_events_that_named_them_goes_and_what_was_told(tmp_path: Path) -> None:
    world = World(tmp_path, CONFIG)
    async with world.parts() as parts:
        await come(
            parts,
            happened(world, "1", customer_no="joe-1", email=MAIL),
            happened(world, "2", customer_no="ann-1", email=MAIL, data={"to": "her"}, traits={"mail": MAIL}),
            happened(world, "3", customer_no="ann-1", data={"n": 3}),
            happened(world, "4", customer_no="ann-1", traits={"mail": "ann@example.com"}),
            happened(world, "5", customer_no="eve-1", data={"n": 4}),
        )
        assert [one.seq for one in await waiting(parts)] == [1, None, 2, 3, 4, 5]
        await erased(parts)
        assert [(one.type, one.seq) for one in await waiting(parts)] == [("order.paid", 4), ("order.paid", 5)]
        assert files_with(MAIL, tmp_path / "state") == []
        assert await parts.store.verify() == []


async def test_what_a_target_has_read_ahead_is_read_again_once_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, read = World(tmp_path, CONFIG), list[bool]()
    async with world.parts() as parts:
        await come(parts, happened(world, "1", customer_no="joe-1", email=MAIL))
        await come(parts, happened(world, "2", customer_no="ann-1", email=MAIL))
        monkeypatch.setattr(parts.outbound.dispatcher, "refresh", lambda: read.append(True))
        forget, done = parts.store.forgetting.forget_deliveries, list[bool]()

        async def forgetting() -> int:
            count = await forget()
            done.append(len(read) == 1)  # when they were hidden, and once more after this
            return count

        monkeypatch.setattr(parts.store.forgetting, "forget_deliveries", forgetting)
        await parts.privacy.erasures.ask(("email", MAIL), parts.kinds, by="an event")
        while parts.privacy.erasures.pending:
            await parts.privacy.removing.tried.wait()
        assert (done, read) == ([True], [True, True])


async def waiting(parts: Parts) -> list[Delivery]:
    return [one.delivery for one in await parts.store.outbox.listed(target="crm", failed=None, limit=99)]
