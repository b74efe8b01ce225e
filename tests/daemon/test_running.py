import socket
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from structlog.testing import capture_logs

from cdmd.control.protocol import TailFilter
from cdmd.daemon.restarting import needs_restart
from cdmd.daemon.running import Running
from cdmd.errors import CdmdError, ConfigInvalid, NotDurable
from cdmd.kit.quantities import Duration
from tests.daemon.doubles import Fetcher, World, applied, asked, fetched, hooks, record, until, verdicts
from tests.daemon.test_outbound import NightlyTarget

pytestmark = pytest.mark.anyio

PULL = '[connectors.crm]\ntype = "fetcher"\n'
PUSH = '[connectors.shop]\ntype = "told"\n'


async def test_a_reload_that_guards_a_connector_knows_who_is_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, PULL + PUSH)
    async with world.parts() as parts:
        running = Running(parts)
        await until(parts, "crm", "running")
        apply, release = parts.store.apply, anyio.Event()

        async def held(*arguments: Any) -> Any:
            await release.wait()
            return await apply(*arguments)

        monkeypatch.setattr(parts.store, "apply", held)
        await parts.connectors.get("crm").source.emit([record("a", email="joe@example.com")])
        world.configure(PULL + PUSH + "known_only = true\n")
        await running.reload()
        verdicts = await parts.connectors.get("shop").source.emit([record("b"), record("c", email="eve@example.com")])
        assert [type(one).__name__ for one in verdicts] == ["Accepted", "Filtered"]
        release.set()
        await applied(parts)
        assert parts.door._order == parts.door._order.__class__(), "the pipeline tells the door what is applied"
        assert (await parts.store.counts())["shop", "applied"] == 1


async def test_a_reload_exchanges_kinds_indicators_reserve_and_log_level_at_once(tmp_path: Path) -> None:
    world = World(tmp_path, PULL)
    async with world.parts() as parts:
        running, before = Running(parts), parts.kinds
        text = '[identity.identifiers]\nphone = { priority = 1 }\n[indicators.seen]\non = "seen"\n' + PULL
        world.configure(text)
        world.file.write_text(world.file.read_text().replace("1MiB", "2MiB").replace("drain", 'log_level = "debug"\ndrain'))
        report = await running.reload()
        assert report.problems == []
        assert parts.kinds is not before
        assert parts.pipeline._writing.rules.kinds is parts.kinds
        assert running.shown is parts.projection
        assert running.kinds.normalise("email", "joe@example.com") is None
        assert parts.door._usable({"email": "joe@example.com"}) == []
        assert parts.disk.reserve == 2 << 20
        assert parts.logs._level == 10


async def test_what_needs_a_restart_is_named_by_its_key_until_it_happens(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.parts() as parts:
        running = Running(parts)
        world.configure(
            '[http]\nlisten = ["127.0.0.1:0"]\nmax_body = "2MiB"\n[queue]\nmax_events = 7\n[plugins.tests]\nurl = "x"\n'
        )
        world.file.write_text(world.file.read_text().replace("/state", "/other"))
        expected = ["http.max_body", "queue.max_events", "daemon.state_dir", "plugins.tests"]
        for _ in range(2):
            report = await running.reload()
            assert report.problems == []
            assert report.warnings[:4] == [
                f"{key} has changed; that takes effect after a restart of the daemon" for key in expected
            ]
        assert needs_restart(parts.config, parts.config) == []
        elsewhere = msgspec.structs.replace(parts.config.journal, url="nats://n1:4222", keep=Duration.parse("1d"))
        (moved,) = needs_restart(parts.config, msgspec.structs.replace(parts.config, journal=elsewhere))
        assert moved.startswith("journal.url has changed")


async def test_a_reload_tells_systemd_when_it_begins_and_ends(tmp_path: Path) -> None:
    world = World(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        world.environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        async with world.parts() as parts:
            world.configure("[connectors.x]\n")
            await Running(parts).reload_quietly()
            assert systemd.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert systemd.recv(100) == b"READY=1\nSTATUS=running, 0 connectors"


async def test_nothing_is_reloaded_while_it_stops(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.parts() as parts:
        parts.state = "draining"
        with pytest.raises(CdmdError, match="the daemon is draining"):
            await Running(parts).reload()
        await Running(parts).reload_quietly()


async def test_the_tail_shows_what_is_asked_for_and_ends_when_the_daemon_drains(tmp_path: Path) -> None:
    world = World(tmp_path, PULL + PUSH)
    async with world.parts() as parts, asked(parts) as http:
        running, seen = Running(parts), []
        await until(parts, "crm", "running")

        async def look(wanted: TailFilter) -> None:
            seen.extend([(one.stage, one.event.connector) async for one in running.tail(wanted)])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look, TailFilter(connector="shop", stage="applied", type="se*"))
            tasks.start_soon(look, TailFilter(connector="shop", stage="applied", type="other.*"))
            while len(parts.pipeline.tail._subscribers) < 2:
                await anyio.lowlevel.checkpoint()
            await http.post("/told/shop")
            await fetched(parts, "crm")
            await applied(parts)
            parts.pipeline.tail.close()
        assert seen == [("applied", "shop")]


async def test_commands_reach_their_parts(tmp_path: Path) -> None:
    world = World(tmp_path, PULL)
    async with world.parts() as parts:
        running = Running(parts)
        await until(parts, "crm", "running")
        await running.pause("crm")
        await until(parts, "crm", "paused")
        await running.resume("crm")
        await until(parts, "crm", "running")
        waiting = Fetcher.made["crm"].emitted
        await running.poll("crm")
        await waiting.wait()
        with pytest.raises(CdmdError):
            await running.forget("crm")
        running.set_log_level("debug", 5.0)
        assert (running.config, running.journal, running.store) == (parts.config, parts.journal, parts.store)
        assert running.clock is world.clock
        size = await running.backup(tmp_path / "backup.tar")
        assert size == (await anyio.Path(tmp_path / "backup.tar").stat()).st_size
        assert (await anyio.Path(tmp_path / "backup.tar").stat()).st_mode & 0o777 == 0o600


async def test_counts_that_cannot_be_read_again_stay_uncertain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, PULL)
    async with world.parts() as parts:
        parts.tally.uncertain = True
        counts = parts.journal.counts

        async def unreadable() -> None:
            raise NotDurable("no")

        monkeypatch.setattr(parts.journal, "counts", unreadable)
        await fetched(parts, "crm")
        assert parts.tally.uncertain
        monkeypatch.setattr(parts.journal, "counts", counts)
        await until(parts, "crm", "running")
        await fetched(parts, "crm")
        await parts.queue.flush()
        while parts.tally.uncertain:
            await anyio.lowlevel.checkpoint()
        assert parts.tally.of("crm", "accepted") == 2


async def test_what_the_last_reload_changed_is_kept_and_the_mistakes_of_one_that_was_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.parts() as parts:
        running = Running(parts)
        assert running.last_reload is None
        world.configure('[daemon.x]\n[identity.identifiers]\nemail = { priority = "high" }\n')
        with pytest.raises(CdmdError):
            await running.reload()
        assert running.last_reload is not None
        assert running.last_reload.mistakes
        assert running.last_reload.report is None
        world.configure("[identity.identifiers]\nemail = { limit = 7 }\n")
        report = await running.reload()
        assert running.last_reload.report is report
        changed = {row.key: (row.before, row.after) for row in running.last_reload.differences}
        assert changed["identity.identifiers.email.limit"][1] == "7"
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            world.configure(f'[metrics]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"\n')
            with pytest.raises(CdmdError):
                await running.reload()
        assert ["Address already in use" in one for one in running.last_reload.mistakes] == [True]


class Odd(NightlyTarget):
    """Its own check fails on some settings."""

    type = "odd"

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Whether it does."""

        fails: bool = False

    @classmethod
    def check(cls, name: str, settings: Any) -> list[str]:
        if settings.fails:
            raise KeyError("joe@example.com")
        return []


async def test_a_reload_is_refused_where_the_plugin_of_one_that_runs_fails_on_its_new_settings(tmp_path: Path) -> None:
    target = '[targets.lake]\ntype = "odd"\nevents = ["*"]\n'
    world = World(tmp_path, PULL + target, extra={"odd": hooks(cdmd_targets=lambda: [Odd])})
    async with world.parts() as parts:
        running, before = Running(parts), parts.config
        world.configure(f'{PULL}note = "new"\n{target}fails = true\n')
        with pytest.raises(ConfigInvalid, match=r"cdmd.toml: targets.lake: its type odd cannot check it: it raised KeyError"):
            await running.reload()
        await running.reload_quietly()
        assert parts.config is before
        world.configure(f"{PULL}{target}{target.replace('lake', 'pond')}fails = true\n")
        report = await running.reload()
        assert verdicts(report.targets) == {"lake": "unchanged", "pond": "failed"}, "one that is new harms nobody"
        assert verdicts((await running.reload()).targets) == {"lake": "unchanged", "pond": "unchanged"}


async def test_a_reload_that_breaks_ends_no_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, PULL)
    async with world.parts() as parts:

        async def broken(config: Any) -> Any:
            raise KeyError("joe@example.com")

        monkeypatch.setattr(parts.connectors, "plan", broken)
        with capture_logs() as logged:
            await Running(parts).reload_quietly()
        (line,) = [one for one in logged if one["event"] == "reload_failed"]
        assert line["error"].startswith("it raised KeyError in")
