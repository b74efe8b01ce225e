"""The suppression list on the disk: it outlives the daemon, and is in force before it is acknowledged."""

from hashlib import sha256
from pathlib import Path

import pytest

from cdmd.contracts import Append
from cdmd.daemon.erasing import RESTORED
from cdmd.daemon.governing import Governing
from cdmd.daemon.running import Running
from cdmd.daemon.suppressing import LISTED, OWNER, suppression_row
from cdmd.errors import NotDurable, Overloaded
from cdmd.privacy.suppressions import Suppression
from tests.daemon.doubles import World, applied, record

pytestmark = pytest.mark.anyio
JOE, ANN = ("email", "joe@example.com"), ("email", "ann@example.com")
SHOP = '[connectors.shop]\ntype = "told"\n'


async def test_the_list_outlives_the_daemon_and_what_is_stored_stays(tmp_path: Path) -> None:
    world = World(tmp_path, SHOP)
    async with world.parts() as parts:
        governing, source = Governing(parts), parts.connectors.get("shop").source
        await source.emit([record("a", email="joe@example.com")])
        await applied(parts)
        assert await governing.suppress(JOE)
        assert not await governing.suppress(JOE)
        await source.emit([record("b", email="joe@example.com"), record("c", email="ann@example.com")])
        await applied(parts)
        assert parts.journal.head == 2
        assert await parts.store.profile(*JOE, activities=5)
    async with world.parts() as parts:
        governing, source = Governing(parts), parts.connectors.get("shop").source
        assert governing.suppressed() == 2, "itself, and its digest whatever kind that comes as"
        await source.emit([record("d", email="JOE@example.com")])
        assert parts.journal.head == 2
        head, row, _ = [line async for line in governing.suppression_rows()]
        assert (head["format"], len(head["key"])) == (1, 32)
        assert (len(row["digest"]), row["erased"]) == (32, False)
        assert "joe" not in str(row)
        assert await governing.unsuppress(JOE)
        assert not await governing.unsuppress(JOE)
        await source.emit([record("e", email="joe@example.com")])
        assert parts.journal.head == 3
        status = await Running(parts).status()
        (shop,) = status.connectors
        assert (shop.received, shop.accepted, shop.suppressed) == (5, 5, 2)
    async with world.parts() as parts:
        assert Governing(parts).suppressed() == 0


async def test_digests_configured_later_bring_nobody_back_also_not_out_of_a_backup(tmp_path: Path) -> None:
    async with World(tmp_path, SHOP).parts() as parts:
        await parts.privacy.listed.add([JOE], parts.kinds, erased=True)
    world = World(tmp_path, SHOP + "[identity.identifiers]\nemail = {}\nmail_hash = { hashed = 'email' }\n")
    digest = sha256(JOE[1].encode()).hexdigest()
    async with world.parts() as parts:
        source = parts.connectors.get("shop").source
        await source.emit([record("a", None, mail_hash=digest)])
        assert parts.journal.head == 0
        # As the journal of a backup has them that was made before.
        listed = parts.privacy.suppressions._listed()
        parts.privacy.suppressions.load([])
        await source.emit([record("b", None, mail_hash=digest), record("c", None, mail_hash="1" * 64)])
        await applied(parts)
        await parts.journal.append([Append(connector=OWNER, state={RESTORED: b"1"})])
        assert len(listed) == 2
    async with world.parts() as parts:
        assert await parts.store.profile("mail_hash", digest, activities=0) is None
        assert await parts.store.profile("mail_hash", "1" * 64, activities=0) is not None


async def test_an_older_list_holds_and_whoever_was_erased_stays_so_whatever_is_said_later(tmp_path: Path) -> None:
    async with World(tmp_path, SHOP).parts() as parts:
        governing, listed = Governing(parts), parts.privacy.listed
        digest = parts.privacy.suppressions.digest(JOE)
        key, row = suppression_row(digest, Suppression(1, erased=True))
        await parts.journal.append([Append(connector=key[0], state={key[1]: row})])
        await listed.load()
        assert not await governing.suppress(JOE), "they were on it"
        rows = {digest: one async for digest, one in listed.rows()}
        assert rows[digest] == Suppression(1, erased=True)
        assert len(rows) == 2, "from then on by whichever kind of digests"
        assert await governing.unsuppress(JOE)
        assert governing.suppressed() == 0


async def test_nothing_is_taken_before_the_list_was_read(tmp_path: Path) -> None:
    async with World(tmp_path, SHOP).parts() as parts:
        parts.privacy.suppressions._digests = None
        with pytest.raises(Overloaded, match="not read yet"):
            await parts.connectors.get("shop").source.emit([record("a", email="joe@example.com")])
        assert parts.journal.head == 0


async def test_whoever_cannot_be_kept_on_the_list_is_not_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with World(tmp_path, SHOP).parts() as parts:

        async def refuse(appends: object) -> None:
            raise NotDurable("the disk is full")

        monkeypatch.setattr(parts.journal, "append", refuse)
        with pytest.raises(NotDurable):
            await Governing(parts).suppress(ANN)
        assert Governing(parts).suppressed() == 0
        assert [key async for key, _ in parts.journal.scan(OWNER, LISTED)] == []
