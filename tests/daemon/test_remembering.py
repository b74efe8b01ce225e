"""Events wait for an extension that they must not pass by while its plugin is not there, over restarts of the daemon."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

import cdmd
import cdmd.builtin
from cdmd.errors import ConfigInvalid
from cdmd.extensions import LeakWatch
from cdmd.plugins import Plugins
from tests.daemon.doubles import Both, Fetcher, Told, World, hooks
from tests.daemon.test_assembly import Running, daemon
from tests.daemon.test_scraping import free

pytestmark = pytest.mark.anyio

PUSH = '[connectors.shop]\ntype = "told"\n'


class Point:
    """An entry point that gives a plugin, or raises."""

    def __init__(self, found: object) -> None:
        self.name, self._found = "till", found

    def load(self) -> Any:
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


def till(on_failure: str = "hold", **more: Callable[..., object]) -> object:
    @cdmd.extension(on="seen", on_failure=on_failure)
    async def ask(event: cdmd.Event, context: cdmd.Context) -> cdmd.Event:
        return event.enriched(asked=True)

    return hooks(cdmd_extensions=lambda: [ask], **more)


def installed(world: World, *found: object, table: dict[str, Any] | None = None) -> None:
    """What is installed at the next start: the plugin, what importing it raises, or nothing."""
    ours = hooks(cdmd_connectors=lambda: [Fetcher, Told, Both])
    tables = {} if table is None else {"till": table}
    world.plugins = Plugins.load([Point(one) for one in found], tables, modules={"builtin": cdmd.builtin, "tests": ours})
    world.clock.shift += timedelta(hours=1)


async def send(running: Running, *names: str) -> dict[str, Any]:
    """Send events; the status once all of them are applied or parked."""
    for name in names:
        assert (await running.get("/told/shop", content=name.encode())).text == "taken"
    await status(running, lambda row: not row["journal"]["backlog"])
    return await status(running, lambda row: True)  # what waits is counted a moment before the backlog that it comes from


async def status(running: Running, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    with anyio.fail_after(30):
        while True:
            found: dict[str, Any] = await running.control("GET", "/v1/status")
            if wanted(found):
                return found
            await anyio.sleep(0.01)


async def data(running: Running) -> dict[str, Any]:
    """What is stored of each event, by id."""
    profile = await running.control("GET", "/v1/profile?identifier=email:joe@example.com")
    return {one["id"]: one["data"] for one in profile.get("activities", [])}


def plugin(found: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = next(row for row in found["plugins"] if row["name"] == "till")
    return row


NOT_THERE = {
    "its import fails": ([ModuleNotFoundError("no", name="nosuchmodule")], None, "load error", "nosuchmodule"),
    "configured and not installed": ([], {}, "bad config", "configured but not installed"),
    "gone without a word": ([], None, "load error", "not installed any more"),
    "an enabled that is neither": ([till()], {"enabled": "no"}, "bad config", "neither true nor false"),
}


@pytest.mark.parametrize("how", NOT_THERE)
async def test_no_event_passes_by_an_extension_whose_plugin_is_not_there_and_it_goes_on_when_that_is_back(
    tmp_path: Path, how: str
) -> None:
    found, table, state, why = NOT_THERE[how]
    world = World(tmp_path, PUSH)
    installed(world, till())
    async with daemon(world) as running:
        await send(running, "before")
    installed(world, *found, table=table)
    async with daemon(world) as running:
        row = plugin(shown := await send(running, "meanwhile"))
        assert (row["state"], row["held"], row["withheld"], shown["state"]) == (state, 1, ["seen"], "degraded")
        assert why in row["error"]
        assert "meanwhile" not in await data(running)
        (one,) = (await running.control("GET", "/v1/plugin?name=till"))["extensions"]
        assert (one["name"], one["held"], one["calls"]) == ("till.ask", 1, 0)
        assert one["withheld"].startswith("the plugin till is not loaded: ")
        trace = await running.control("GET", "/v1/event?id=meanwhile")
        assert "the plugin till is not loaded" in str(trace)
    installed(world, till())
    async with daemon(world) as running:
        await status(running, lambda one: one["store"]["parked"] == 0)
        assert (await data(running))["meanwhile"] == {"n": 1, "asked": True}


async def test_what_was_removed_on_purpose_is_no_longer_waited_for(tmp_path: Path) -> None:
    world = World(tmp_path, PUSH)
    installed(world, till())
    async with daemon(world) as running:
        await send(running, "before")
    installed(world)
    async with daemon(world) as running:
        assert plugin(await send(running, "held"))["held"] == 1
    installed(world, table={"enabled": False})
    async with daemon(world) as running:
        found = await status(running, lambda one: one["store"]["parked"] == 0)
        assert (plugin(found)["state"], plugin(found)["withheld"]) == ("disabled", [])
        assert (await data(running))["held"] == {"n": 1}
    installed(world)
    async with daemon(world) as running:
        found = await send(running, "after")
        assert [row["name"] for row in found["plugins"] if row["name"] == "till"] == []
        assert (await data(running))["after"] == {"n": 1}


async def test_what_may_be_stored_without_its_extension_does_not_wait(tmp_path: Path) -> None:
    world = World(tmp_path, PUSH)
    installed(world, till("store"))
    async with daemon(world) as running:
        await send(running, "before")
    installed(world, ImportError("no"))
    async with daemon(world) as running:
        assert plugin(await send(running, "meanwhile"))["withheld"] == []
        assert (await data(running))["meanwhile"] == {"n": 1}


async def test_events_wait_where_a_plugin_says_that_its_settings_are_wrong(tmp_path: Path) -> None:
    def refuses() -> None:
        raise ConfigInvalid(["url: is missing"])

    world = World(tmp_path, PUSH)
    installed(world, till("reject", cdmd_startup=refuses))
    async with daemon(world) as running:
        row = plugin(await send(running, "meanwhile"))
        assert (row["state"], row["held"], row["withheld"]) == ("bad config", 1, ["seen"])
        (one,) = (await running.control("GET", "/v1/plugin?name=till"))["extensions"]
        assert one["withheld"] == "the plugin till is not well configured: plugins.till.url: is missing"


async def test_a_node_that_only_applies_lets_events_wait_too_and_is_watched_and_measured_as_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses() -> None:
        raise ConfigInvalid(["url: is missing"])

    watched = anyio.Event()

    async def watches(_: LeakWatch) -> None:
        watched.set()
        await anyio.sleep_forever()

    monkeypatch.setattr("cdmd.daemon.assembly.role_problems", lambda config, roles: [])  # it goes through files of its own here
    monkeypatch.setattr(LeakWatch, "run", watches)
    world = World(tmp_path, f'[metrics]\nlisten = "127.0.0.1:{(port := free())}"\nnames = ["cdmd.example.com"]\n')
    installed(world, till("reject", cdmd_startup=refuses))
    async with daemon(world, roles=("process",)) as running:
        assert running.addresses == []
        (one,) = (await running.control("GET", "/v1/plugin?name=till"))["extensions"]
        assert one["withheld"] == "the plugin till is not well configured: plugins.till.url: is missing"
        async with httpx.AsyncClient() as client:
            asked = await client.get(f"http://127.0.0.1:{port}/metrics", headers={"host": "cdmd.example.com"})
        assert asked.status_code == 200
        await watched.wait()


async def test_one_that_failed_at_its_startup_is_called_all_the_same(tmp_path: Path) -> None:
    def fails() -> None:
        raise OSError("the service is away")

    world = World(tmp_path, PUSH)
    installed(world, till(cdmd_startup=fails))
    async with daemon(world) as running:
        assert plugin(await send(running, "meanwhile"))["state"] == "failed"
        assert (await data(running))["meanwhile"] == {"n": 1, "asked": True}
