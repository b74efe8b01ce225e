import signal
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import httpx
import pytest
from structlog.testing import capture_logs

import cdmd.store.postgres.store  # noqa: F401 - its queries are read ahead of the loop
from cdmd.daemon import run
from cdmd.daemon.listening import address
from cdmd.errors import CdmdError, ConfigInvalid, Damaged, InUse
from cdmd.extensions import Stall
from cdmd.store.files import StateDirectory
from cdmd.supervisor import Policy, Supervisor
from tests.daemon.doubles import Fetcher, World, hooks

pytestmark = pytest.mark.anyio

PULL = '[connectors.crm]\ntype = "fetcher"\n'
PUSH = '[connectors.shop]\ntype = "told"\n'


class Running:
    """A daemon with its listeners; signals come from the test."""

    def __init__(self, world: World, **given: Any) -> None:
        self.world, self.ready, self.ended, self._given = world, anyio.Event(), anyio.Event(), given
        self.addresses: Sequence[str] = ()
        self.abandoned: list[str] | None = None
        self._send, self._receive = anyio.create_memory_object_stream[signal.Signals](10)

    @contextmanager
    def signals(self) -> Iterator[Any]:
        yield self._receive

    def _ready(self, config: object, addresses: Sequence[str]) -> None:
        self.addresses = addresses
        anyio.from_thread.run_sync(self.ready.set)

    def _left(self, abandoned: Sequence[str]) -> None:
        self.abandoned = list(abandoned)

    async def run(self) -> None:
        try:
            given = await anyio.to_thread.run_sync(
                lambda: self.world.given(signals=self.signals, ready=self._ready, left=self._left, **self._given)
            )
            await run(given)
        finally:
            self.ended.set()
            self._send.close()
            self._receive.close()

    def signal(self, number: signal.Signals) -> None:
        self._send.send_nowait(number)

    async def get(self, path: str, *, content: bytes | None = None) -> httpx.Response:
        async with httpx.AsyncClient(base_url=f"http://{self.addresses[0]}") as client:
            return await (client.get(path) if content is None else client.post(path, content=content))

    async def control(self, method: str, path: str) -> Any:
        transport = httpx.AsyncHTTPTransport(uds=str(self.world.folder / "c.sock"))
        async with httpx.AsyncClient(transport=transport, base_url="http://cdmd") as client:
            return (await client.request(method, path)).json()


@asynccontextmanager
async def daemon(world: World, **given: Any) -> AsyncIterator[Running]:
    running = Running(world, **given)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(running.run)
            await running.ready.wait()
            yield running
            if not running.ended.is_set():
                running.signal(signal.SIGTERM)
                await running.ended.wait()


async def test_it_is_ready_when_its_listeners_accept_and_tells_systemd_then(tmp_path: Path) -> None:
    world = World(tmp_path, PUSH)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        world.environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        async with daemon(world) as running:
            assert systemd.recv(100) == b"READY=1\nSTATUS=running, 1 connector"
            assert (await running.get("/readyz")).status_code == 200
            assert (await running.get("/told/shop", content=b"a")).text == "taken"
            status = await running.control("GET", "/v1/status")
            assert (status["state"], status["connectors"][0]["name"]) == ("running", "shop")
        assert systemd.recv(100) == b"STOPPING=1\nSTATUS=draining"
        assert systemd.recv(100) == b"EXTEND_TIMEOUT_USEC=32000000"
    assert running.abandoned == []
    assert not (tmp_path / "c.sock").exists()


async def test_what_was_acknowledged_is_applied_before_it_ends(tmp_path: Path) -> None:
    world = World(tmp_path, PUSH)
    async with daemon(world) as running:
        for number in range(20):
            await running.get("/told/shop", content=str(number).encode())
        running.signal(signal.SIGTERM)
        await running.ended.wait()
    async with world.parts() as parts:
        assert parts.store.position == parts.journal.head == 20


async def test_sighup_reloads_and_a_mistake_changes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, PUSH)
    async with daemon(world) as running:
        world.configure(PUSH + PULL)
        running.signal(signal.SIGHUP)
        while len((await running.control("GET", "/v1/status"))["connectors"]) < 2:
            await anyio.lowlevel.checkpoint()
        world.configure(PUSH + PULL.replace("fetcher", "fetchr"))
        with capture_logs() as logged:
            running.signal(signal.SIGHUP)
            while not logged:
                await anyio.lowlevel.checkpoint()
        assert (logged[0]["event"], logged[0]["count"]) == ("reload_refused", 1)
        assert len((await running.control("GET", "/v1/status"))["connectors"]) == 2


MANY = 40


def many(note: str) -> str:
    """Connectors and targets that all are exchanged where the note is another one."""
    fetch = f'type = "fetcher"\nnote = "{note}"\n'
    target = f'type = "webhook"\nurl = "http://127.0.0.1:9/{note}"\nevents = ["*"]\nsign = false\n'
    return "".join(f"[connectors.c{n}]\n{fetch}[targets.t{n}]\n{target}" for n in range(MANY))


@pytest.mark.parametrize("begun", ["connector_stopped", "target_stopped", "connector_started"])
async def test_a_stop_in_the_midst_of_a_reload_is_a_clean_one(tmp_path: Path, begun: str) -> None:
    """Seen to end by a ValueError, or without a last sync, when the reload went on after all was stopped."""
    world = World(tmp_path, many("a"))
    async with daemon(world) as running:
        world.configure(many("b"))
        with capture_logs() as logged:
            running.signal(signal.SIGHUP)
            while not any(line["event"] == begun for line in logged):
                await anyio.lowlevel.checkpoint()
            running.signal(signal.SIGTERM)
            await running.ended.wait()
        told = [line["event"] for line in logged]
        assert told[-1] == "daemon_stopped"
        assert "configuration_reloaded" not in told
        failed = next(line for line in logged if line["event"] == "reload_failed")
        assert str(failed["error"]) == "the daemon is stopping; nothing is changed now"
    async with World(tmp_path, many("a")).parts():
        pass


async def test_a_second_signal_ends_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, draining = World(tmp_path), anyio.Event()

    async def drain(*_: object) -> bool:
        draining.set()
        await anyio.sleep_forever()
        return True

    monkeypatch.setattr("cdmd.pipeline.Pipeline.drain", drain)
    world.file.write_text(world.file.read_text().replace('drain = "2s"', 'drain = "1h"'))
    async with daemon(world) as running:
        running.signal(signal.SIGINT)
        await draining.wait()
        running.signal(signal.SIGHUP)
        running.signal(signal.SIGINT)
        await running.ended.wait()


async def test_what_cannot_be_drained_in_time_is_left_for_the_next_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def stands(*_: object) -> None:
        await anyio.sleep_forever()

    async def unsynced(*_: object) -> None:
        raise Damaged("no")

    world = World(tmp_path, PUSH)
    world.file.write_text(world.file.read_text().replace('drain = "2s"', 'drain = "20ms"'))
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr("cdmd.store.store.SqliteStore.apply", stands)
        broken.setattr("cdmd.store.store.SqliteStore.sync", unsynced)
        async with daemon(world) as running:
            for name in ("a", "b", "c"):
                assert (await running.get("/told/shop", content=name.encode())).text == "taken"
    stopped = next(line for line in capsys.readouterr().out.splitlines() if "daemon_stopped" in line)
    assert "backlog=3" in stopped
    assert "outcome=later" in stopped
    async with daemon(world) as running:
        while (await running.control("GET", "/v1/status"))["journal"]["backlog"]:
            await anyio.lowlevel.checkpoint()
        status = await running.control("GET", "/v1/status")
        assert (status["totals"]["events"], status["connectors"][0]["applied"]) == (3, 3)
        assert (await running.control("GET", "/v1/profile?identifier=email:joe@example.com"))["identifiers"]


async def test_a_connector_that_does_not_stop_is_named_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd.daemon.parts.Supervisor", partial(Supervisor, policy=Policy(stop=0.05)))
    world = World(tmp_path, PULL + 'mode = "stuck"\n')
    async with daemon(world) as running:
        stuck = Fetcher.made["crm"]
        while stuck.source is None:
            await anyio.lowlevel.checkpoint()
        running.signal(signal.SIGTERM)
        await running.ended.wait()
        stuck.release.set()
    assert running.abandoned == ["crm"]


async def test_plugins_are_started_before_and_shut_down_after_everything(tmp_path: Path) -> None:
    said: list[str] = []
    world = World(
        tmp_path,
        extra={"p": hooks(cdmd_startup=lambda: said.append("startup"), cdmd_shutdown=lambda: said.append("shutdown"))},
    )
    async with daemon(world):
        assert said == ["startup"]
    assert said == ["startup", "shutdown"]


@pytest.mark.parametrize(
    ("text", "kind", "sentence"),
    [
        ('[http]\nlisten = ["127.0.0.1:{port}"]\n', CdmdError, "cannot listen on 127.0.0.1:{port}: Address already in use"),
        ('[http]\nlisten = ["fd:http"]\n', CdmdError, "fd:http: no socket of that name was handed over"),
        ('[control]\nsocket = "/tmp/{long}/c.sock"\n', ConfigInvalid, "is longer than 107 bytes"),
        ('[control]\nsocket = "/dev/null/c.sock"\n', CdmdError, "the folder of the control socket /dev/null/c.sock cannot"),
        ('[connectors.a]\ntype = "fetcher"\nmode = "impossible"\n', ConfigInvalid, "connectors.a.mode: is impossible"),
        ('[http]\nlisten = ["127.0.0.1:0"]\n[http.tls]\ncertificate = "nonsense"\nkey = "no"\n', ConfigInvalid, "http.tls"),
    ],
)  # fmt: skip
async def test_what_keeps_it_from_starting_is_one_plain_error(
    tmp_path: Path, text: str, kind: type[CdmdError], sentence: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        fields = {"port": str(taken.getsockname()[1]), "long": "x" * 120}
        for name, value in fields.items():
            text, sentence = text.replace(f"{{{name}}}", value), sentence.replace(f"{{{name}}}", value)
        world = World(tmp_path, text)
        running = Running(world)
        with pytest.raises(kind, match=sentence), anyio.fail_after(30):
            await running.run()
        assert not running.abandoned


async def test_a_directory_that_is_in_use_or_damaged_keeps_it_from_starting(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.parts():
        with pytest.raises(InUse, match="is used by another cdmd"):
            await Running(world).run()
    await anyio.Path(tmp_path / "state" / "journal.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(Damaged, match="cdmd restore FILE"):
        await Running(world).run()


async def test_a_fault_of_its_own_is_told_by_class_and_place_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)

    async def fail(*_: object, **__: object) -> None:
        raise KeyError("joe@example.com")

    monkeypatch.setattr("cdmd.daemon.upkeep.Upkeep.run", fail)
    with pytest.raises(CdmdError, match="a fault of its own: it raised KeyError in") as found:
        await Running(world).run()
    assert "joe@" not in str(found.value)


async def test_sockets_that_were_handed_over_are_used_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web, control = socket.socket(), socket.socket(socket.AF_UNIX)
    web.bind(("127.0.0.1", 0))
    control.bind(str(tmp_path / "c.sock"))
    for one in (web, control):
        one.setblocking(False)
    world = World(tmp_path, '[http]\nlisten = ["fd:web"]\n')
    monkeypatch.setattr("cdmd.kit.systemd.Systemd.sockets", lambda self: {"web": [web], "control": [control]})
    async with daemon(world) as running:
        assert running.addresses[0] == f"127.0.0.1:{web.getsockname()[1]}"
        assert (await running.get("/livez")).status_code == 200
        assert (await running.control("GET", "/v1/status"))["state"] == "running"
    assert (tmp_path / "c.sock").exists(), "systemd owns it"


async def test_a_stall_is_logged_and_its_extension_blamed(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.parts() as parts:
        parts.blaming.stalled(Stall(seconds=1.0, plugin=None, extension=None, file="x.py", line=3))
        blamed: list[tuple[str, str]] = []
        parts.extensions.blame = lambda name, what: blamed.append((name, what))  # type: ignore[method-assign]
        parts.blaming.free_again(Stall(seconds=1.0, plugin="p", extension="p.e", file="x.py", line=3))
        assert blamed == [("p.e", "blocked the event loop for 1.0 s at x.py:3")]
        parts.isolating.noticed("p", "e", "hangs")
        parts.isolating.noticed("p", "p", "hangs")
        assert blamed[1:] == [("p.e", "hangs"), ("p", "hangs")]


def test_addresses_are_shown_as_a_url_has_them(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET6) as six, socket.socket(socket.AF_UNIX) as unix:
        six.bind(("::1", 0))
        unix.bind(str(tmp_path / "s"))
        assert address(six) == f"[::1]:{six.getsockname()[1]}"
        assert address(unix) == str(tmp_path / "s")


async def test_a_signal_ends_a_start_that_waits_for_a_server(tmp_path: Path) -> None:
    """Seen to fail when signals were first looked at once the state was open, after the minute that a server is waited for."""
    with socket.socket() as nobody, capture_logs() as logged:
        nobody.bind(("127.0.0.1", 0))
        world = World(tmp_path, f'[store]\nurl = "postgresql://cdmd@127.0.0.1:{nobody.getsockname()[1]}/cdmd"\n')
        running = Running(world)
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(running.run)
                while not any(line["event"] == "store_is_waited_for" for line in logged):  # noqa: ASYNC110 - only the log says so
                    await anyio.sleep(0.02)
                running.signal(signal.SIGHUP)
                running.signal(signal.SIGTERM)
                await running.ended.wait()
    assert logged[-1]["event"] == "daemon_stopped_at_once"
    assert not running.ready.is_set()
    async with StateDirectory(tmp_path / "state").hold():
        pass
