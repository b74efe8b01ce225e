"""Digests of identifiers for everybody who is known, also of those who came before they were configured."""

import base64
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from cdmd.config.schema import IdentifierSettings, IdentitySettings
from cdmd.contracts import Source
from cdmd.daemon.parts import Parts
from cdmd.daemon.running import Running
from cdmd.errors import NotDurable, Overloaded
from cdmd.identity.identifiers import Kinds
from cdmd.models import Accepted, Filtered, Record
from tests.daemon.doubles import Fetcher, World, applied, until

pytestmark = pytest.mark.anyio

FETCHER = '[connectors.{name}]\ntype = "fetcher"\n'
SHOP, SUPPLIER = FETCHER.format(name="shop"), FETCHER.format(name="supplier") + "known_only = true\n"
DIGESTS = "[identity.identifiers]\nemail = { priority = 1 }\nemail_sha256 = { priority = 2 }\n"


def digest(text: str) -> str:
    return base64.b64encode(sha256(text.encode()).digest()).decode()


def seen(number: int, **identifiers: str) -> Record:
    return Record(
        value={"type": "seen", "id": str(number), "identifiers": identifiers},
        received=datetime.now(UTC),
        fallback_id=str(number),
    )


async def source_of(parts: Parts, name: str) -> Source:
    await until(parts, name, "running")
    source = Fetcher.made[name].source
    assert source is not None
    return source


async def know(parts: Parts, count: int) -> None:
    source = await source_of(parts, "shop")
    await source.emit([seen(number, email=f"u{number}@example.com") for number in range(count)])
    await applied(parts)


async def test_who_came_before_digests_were_configured_is_found_by_one_and_nobody_twice(tmp_path: Path) -> None:
    world = World(tmp_path, SHOP)
    async with world.parts() as parts:
        await know(parts, 1200)
        assert (parts.deriving.incomplete(), parts.deriving.progress) == (set(), None)
    world.configure(DIGESTS + SHOP + SUPPLIER)
    async with world.parts() as parts:
        supplier = await source_of(parts, "supplier")
        assert parts.deriving.incomplete() == {"email_sha256"}
        with pytest.raises(Overloaded, match="still being computed"):
            await supplier.emit([seen(1, email_sha256=digest("u7@example.com"))])
        await parts.deriving.complete()
        rows = [seen(1, email_sha256=digest("u7@example.com")), seen(2, email_sha256=digest("stranger@example.com"))]
        assert await supplier.emit(rows) == [Accepted("1"), Filtered("unknown")]
        await applied(parts)
        assert (await parts.store.totals()).profiles == 1200
        assert await parts.store.verify() == []
    async with world.parts() as parts:
        assert parts.deriving.incomplete() == set(), "it is noted that it was done"


async def test_a_kind_that_was_left_out_for_a_while_is_computed_again(tmp_path: Path) -> None:
    world = World(tmp_path, DIGESTS + SHOP)
    async with world.parts() as parts:
        await parts.deriving.complete()
    world.configure(SHOP)
    async with world.parts() as parts:
        await parts.deriving.complete()
        await know(parts, 1)
    world.configure(DIGESTS + SHOP)
    async with world.parts() as parts:
        assert parts.deriving.incomplete() == {"email_sha256"}


async def test_a_kind_that_comes_back_before_anything_was_computed_is_computed_again(tmp_path: Path) -> None:
    world = World(tmp_path, DIGESTS + SHOP)
    async with world.parts() as parts:
        await parts.deriving.complete()
        for configured in (SHOP, DIGESTS + SHOP):
            await anyio.to_thread.run_sync(world.configure, configured)
            await Running(parts).reload()
            await know(parts, 1)
        assert parts.deriving.incomplete() == {"email_sha256"}
        await parts.deriving.complete()
        assert await parts.store.profile(*parts.kinds.digests(("email", "u0@example.com"))[0], activities=0) is not None


async def test_a_store_that_cannot_be_written_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, DIGESTS + SHOP)
    async with world.parts() as parts:
        note, tried, done = parts.store.note, 0, anyio.Event()

        async def failing(name: str, value: str) -> None:
            nonlocal tried
            tried += 1
            if tried == 1:
                raise NotDurable("the disk is full")
            await note(name, value)
            done.set()

        async def at_once(seconds: float) -> None:
            await anyio.lowlevel.checkpoint()

        monkeypatch.setattr(parts.store, "note", failing)
        monkeypatch.setattr(parts.clock, "sleep", at_once)
        async with anyio.create_task_group() as tasks:
            await tasks.start(parts.deriving.run)
            await done.wait()
            await anyio.wait_all_tasks_blocked()
            assert (parts.deriving.incomplete(), parts.deriving.progress) == (set(), None)
            world.configure(DIGESTS + SHOP)
            parts.deriving.configured()
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert tried == 2


async def test_kinds_that_change_meanwhile_are_walked_for_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, DIGESTS + SHOP)
    async with world.parts() as parts:
        await know(parts, 1)
        derive = parts.store.derive
        more = IdentitySettings(identifiers={**parts.config.identity.identifiers, "tel": IdentifierSettings(hashed="email")})

        async def changing(*given: Any, **named: Any) -> Any:
            monkeypatch.setattr(parts.store, "derive", derive)
            assert parts.deriving.progress == "email_sha256 of profile 0 of about 1 are computed"
            parts.take(parts.config, kinds=Kinds(more), audiences=parts.audiences, pull=frozenset({"shop"}))
            return await derive(*given, **named)

        monkeypatch.setattr(parts.store, "derive", changing)
        await parts.deriving.complete()
        assert parts.deriving.incomplete() == {"tel", "email_sha256"}
        await parts.deriving.complete()
        assert parts.deriving.incomplete() == set()
