"""An sftp area behind the real sshd: what a folder does, and all that a connection adds."""

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import asyncssh
import pytest

from cdmd.errors import ConfigInvalid, SourceBlocked, SourceUnavailable
from cdmd.kit.quantities import Duration
from cdmd.kit.ssh_hosts import JumpHost
from tests.connectors.files.driving import driven, found, lines
from tests.connectors.files.reaching import guest, misbehaving, reaching, secret, sftp
from tests.peers.proxy import proxy
from tests.peers.sshd import SFTP_SERVER, Sshd, make_key, sshd

pytestmark = pytest.mark.anyio


async def test_whole_files_are_read_once_over_sftp(server: Sshd, tmp_path: Path) -> None:
    (tmp_path / "2026").mkdir()
    (tmp_path / "a.jsonl").write_bytes(lines(1, 2))
    (tmp_path / "2026" / "b.jsonl").write_bytes(lines(3))
    watcher = sftp(server, tmp_path, depth=1)
    async with driven(watcher, reaching(watcher)) as watch:
        assert await watch.states() == {"a.jsonl": "seen", "2026/b.jsonl": "seen"}
        await watch.settled()
        assert sorted(watch.source.numbers) == [1, 2, 3]
        row = (await watch.files())["a.jsonl"]
        assert row["modified"].timestamp() == int((tmp_path / "a.jsonl").stat().st_mtime)
        (tmp_path / "a.jsonl").write_bytes(lines(4, 5, 6))
        await watch.settled()
        assert sorted(watch.source.numbers) == [1, 2, 3, 4, 5, 6]


def by_permissions() -> list[str]:
    """Options of a server that goes by the modes of files, also for root."""
    if os.geteuid() != 0:
        return []
    return [f"ForceCommand setpriv --bounding-set=-dac_override,-dac_read_search {SFTP_SERVER}"]


async def test_what_the_real_server_denies_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    area, closed = tmp_path / "in", tmp_path / "in" / "closed"
    closed.mkdir(parents=True)
    for name, number in (("a", 1), ("locked", 2), ("closed/b", 3)):
        (area / name).write_bytes(lines(number))
    (area / "locked").chmod(0)
    closed.chmod(0)
    with sshd(tmp_path / "sshd", kinds=["ed25519"], options=["PasswordAuthentication yes", *by_permissions()]) as server:
        watcher = sftp(server, area, depth=1)
        async with driven(watcher, reaching(watcher)) as watch:
            await watch.settled()
            assert watch.source.numbers == [1]
            files = await watch.files()
            assert (files["locked"]["state"], files["locked"]["reason"]) == ("blocked", "permission denied")
            assert "folders that cannot be looked into: closed" in watch.source.reason
            assert "closed/b" not in files
            closed.chmod(0o700)
            (area / "locked").chmod(0o600)
            await watch.settled()
            await watch.settled()
            assert sorted(watch.source.numbers) == [1, 2, 3]
        closed.chmod(0)
        watcher = sftp(server, closed)
        with pytest.raises(SourceUnavailable, match="closed cannot be listed: permission denied"):
            await watcher.run(reaching(watcher))
        watcher = sftp(server, area / "nowhere")
        with pytest.raises(SourceUnavailable, match="nowhere cannot be listed: it is not there"):
            await watcher.run(reaching(watcher))
        said = await refusal(sftp(server, area, private_key=None, password=secret(b"open sesame")))
        assert said.startswith(f"127.0.0.1 does not let {server.username} in: compare username, key and password")
        assert "sesame" not in said


async def test_names_are_bytes_and_links_are_never_followed(server: Sshd, tmp_path: Path) -> None:
    area, secret_file = tmp_path / "in", tmp_path / "secret"
    area.mkdir()
    secret_file.write_bytes(lines(666))
    names = [b"a\nb", b"\x1b[2Jx", b"\xff\xfe.csv", b"n" * 250, b"-rf", b"a\\x41"]
    for number, name in enumerate(names):
        (area / os.fsdecode(name)).write_bytes(lines(number))
    (area / "link").symlink_to(secret_file)
    (area / "loop").symlink_to(area)
    os.mkfifo(area / "pipe")
    watcher = sftp(server, area, depth=3)
    async with driven(watcher, reaching(watcher)) as watch:
        await watch.settled()
        assert sorted(watch.source.numbers) == list(range(len(names)))
        states = await watch.states()
        assert {name: states[name] for name in ("link", "loop", "pipe")} == dict.fromkeys(("link", "loop", "pipe"), "blocked")


@pytest.mark.parametrize("after", ["delete", "move:archive/old"])
async def test_what_was_read_is_tidied_up(server: Sshd, tmp_path: Path, after: str) -> None:
    watcher = sftp(server, tmp_path, after=after, depth=3)
    async with driven(watcher, reaching(watcher)) as watch:
        for number in (1, 2):
            (tmp_path / "a.jsonl").write_bytes(lines(number))
            await watch.settled()
        assert watch.source.numbers == [1, 2]
        kept = sorted(path.read_bytes() for path in found(tmp_path, "a.jsonl*"))
        assert kept == ([] if after == "delete" else [lines(1), lines(2)])


@pytest.mark.parametrize("after", ["delete", "move:archive"])
async def test_a_server_that_only_lets_us_read_is_told_of_once(tmp_path: Path, after: str) -> None:
    area = tmp_path / "in"
    area.mkdir()
    (area / "a.jsonl").write_bytes(lines(1))
    with sshd(tmp_path / "sshd", kinds=["ed25519"], options=["ForceCommand internal-sftp -R"]) as server:
        watcher = sftp(server, area, after=after)
        async with driven(watcher, reaching(watcher)) as watch:
            await watch.settled()
            row = (await watch.files())["a.jsonl"]
            assert (row["state"], row["after"]) == ("done", "refused")
            assert "permission denied" in row["reason"]
            emits = watch.source.emits
            await watch.settled()
            assert (watch.source.numbers, watch.source.emits) == ([1], emits)


@asynccontextmanager
async def ended(process: Any) -> AsyncIterator[None]:
    """Whatever happens, it ends."""
    try:
        yield
    finally:
        process.terminate()


async def until(holds: Callable[[], bool]) -> None:
    """Return once it holds; there is no event to wait for."""
    with anyio.fail_after(30):
        while not holds():  # noqa: ASYNC110
            await anyio.sleep(0.02)


# ---- who is there -----------------------------------------------------------------------------------------------------


async def refusal(watcher: Any) -> str:
    with pytest.raises(SourceBlocked) as caught:
        await watcher.run(reaching(watcher))
    return str(caught.value)


async def test_no_host_is_talked_to_whose_key_is_not_pinned(server: Sshd, tmp_path: Path) -> None:
    said = await refusal(sftp(server, tmp_path, host_key=None))
    assert all(one in said for one in server.fingerprints.values())
    assert f'write host_key = "{server.fingerprint}" into connectors.sup and: cdmctl reload' in said


async def test_a_host_that_shows_another_key_is_not_talked_to(server: Sshd, tmp_path: Path) -> None:
    said = await refusal(sftp(server, tmp_path, host_key="SHA256:" + "A" * 43))
    assert said.startswith("the host key of 127.0.0.1 is not the pinned one: it shows ssh-ed25519 SHA256:")


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
async def test_whichever_of_its_keys_is_pinned_is_asked_for(server: Sshd, tmp_path: Path, kind: str) -> None:
    watcher = sftp(server, tmp_path, host_key=("SHA256:" + "A" * 43, server.fingerprints[kind]))
    async with driven(watcher, reaching(watcher)) as watch:
        await watch.look()


async def test_a_key_that_opens_nothing_is_said_without_a_word_of_the_servers(server: Sshd, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other").read_bytes()
    said = await refusal(sftp(server, tmp_path, private_key=secret(other)))
    assert said.startswith(f"127.0.0.1 does not let {server.username} in")


async def test_a_key_with_a_passphrase_and_a_wrong_one(server: Sshd, tmp_path: Path) -> None:
    locked = tmp_path / "user"
    locked.write_bytes(server.private_key)
    locked.chmod(0o600)
    await anyio.run_process(["ssh-keygen", "-q", "-p", "-P", "", "-N", "wide open", "-f", str(locked)])
    given = {"private_key": secret(locked.read_bytes())}
    watcher = sftp(server, tmp_path, passphrase=secret(b"wide open"), **given)
    async with driven(watcher, reaching(watcher)) as watch:
        await watch.look()
    for passphrase, problem in ((secret(b"wrong"), "passphrase: does not open"), (None, "is encrypted; give its passphrase")):
        with pytest.raises(ConfigInvalid, match=problem):
            sftp(server, tmp_path, passphrase=passphrase, **given)


async def test_what_is_no_key_is_a_mistake_of_the_configuration(server: Sshd, tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"connectors\.sup\.private_key: is no private key"):
        sftp(server, tmp_path, private_key=secret(b"joe@example.com"))
    with pytest.raises(ConfigInvalid, match=r"connectors\.sup\.certificate: is no OpenSSH certificate"):
        sftp(server, tmp_path, certificate=secret(b"joe@example.com"))
    for given, problem in (
        ({"private_key": None}, "private_key: is missing"),
        ({"host_key": "ab:cd"}, "host_key: 'ab:cd' is not a fingerprint"),
        ({"private_key": None, "password": secret(b"x"), "passphrase": secret(b"x")}, "passphrase: needs a private_key"),
    ):
        with pytest.raises(ConfigInvalid, match=problem):
            sftp(server, tmp_path, **given)


async def test_a_certificate_and_an_agent_open_the_door(server: Sshd, tmp_path: Path) -> None:
    authority, user = make_key(tmp_path / "ca"), make_key(tmp_path / "user")
    await anyio.run_process(["ssh-keygen", "-q", "-s", str(authority), "-I", "test", "-n", server.username, str(user) + ".pub"])
    area = tmp_path / "in"
    area.mkdir()
    with sshd(tmp_path / "sshd", kinds=["ed25519"], options=[f"TrustedUserCAKeys {authority}.pub"]) as trusting:
        certificate = secret((tmp_path / "user-cert.pub").read_bytes())
        watcher = sftp(trusting, area, private_key=secret(user.read_bytes()), certificate=certificate)
        async with driven(watcher, reaching(watcher)) as watch:
            await watch.look()
        socket = str(tmp_path / "agent")
        async with await anyio.open_process(["ssh-agent", "-D", "-a", socket]) as agent, ended(agent):
            await until(lambda: os.path.exists(socket))  # noqa: PTH110
            key = tmp_path / "sshd" / "user"
            await anyio.run_process(["ssh-add", "-q", str(key)], env={**os.environ, "SSH_AUTH_SOCK": socket})
            watcher = sftp(trusting, area, private_key=None, agent=socket)
            async with driven(watcher, reaching(watcher)) as watch:
                await watch.look()


async def test_a_jump_host_is_pinned_and_logged_into_by_itself(server: Sshd, tmp_path: Path) -> None:
    area = tmp_path / "in"
    area.mkdir()
    (area / "a.jsonl").write_bytes(lines(1))
    with sshd(tmp_path / "jump", kinds=["ed25519"]) as gate:
        jump = JumpHost(
            host="127.0.0.1",
            port=gate.port,
            username=gate.username,
            private_key=secret(gate.private_key),
            host_key=gate.fingerprint,
        )
        watcher = sftp(server, area, jump=jump)
        async with driven(watcher, reaching(watcher)) as watch:
            await watch.settled()
            assert watch.source.numbers == [1]
        unpinned = JumpHost(host="127.0.0.1", port=gate.port, username=gate.username, private_key=secret(gate.private_key))
        assert "into connectors.sup.jump and: cdmctl reload" in await refusal(sftp(server, area, jump=unpinned))


async def test_a_host_that_is_configured_and_leads_elsewhere_is_not_connected_to(server: Sshd, tmp_path: Path) -> None:
    watcher = sftp(server, tmp_path, host="127.0.0.1.nip.example")

    async def resolve(host: str, port: int) -> list[str]:
        return ["10.0.0.1"]

    source = reaching(watcher)
    source._http._backend._resolve = resolve  # type: ignore[union-attr]
    with pytest.raises(SourceBlocked, match="allow_addresses"):
        await watcher.run(source)


async def test_nobody_there_and_nobody_who_speaks_are_said_in_time(server: Sshd, tmp_path: Path) -> None:
    watcher = sftp(server, tmp_path, port=1)
    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        await watcher.run(reaching(watcher))
    with proxy(server.port, fault="hang", after=0) as silent:
        watcher = sftp(server, tmp_path, port=silent.port, timeout=Duration.parse("300ms"))
        with anyio.fail_after(30), pytest.raises(SourceUnavailable, match="in time"):
            await watcher.run(reaching(watcher))
    with proxy(server.port, fault="garbage", after=0) as babbling:
        watcher = sftp(server, tmp_path, port=babbling.port, timeout=Duration.parse("5s"))
        with anyio.fail_after(30), pytest.raises(SourceUnavailable):
            await watcher.run(reaching(watcher))


# ---- what happens on the way ------------------------------------------------------------------------------------------


BIG = os.urandom(6_000_000).hex().encode()


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    area = tmp_path_factory.mktemp("big")
    (area / "big").write_bytes(b'{"n": 1, "text": "' + BIG + b'"}\n')
    return area


@pytest.mark.parametrize("fault", ["cut", "reset", "garbage"])
async def test_a_transfer_that_breaks_goes_on_where_it_broke(server: Sshd, big: Path, fault: str) -> None:
    for after in (20_000, 500_000, 3_000_000, 9_999_999, 11_900_000):
        with proxy(server.port, fault=fault, after=after, times=1) as line:
            watcher = sftp(server, big, port=line.port)
            async with driven(watcher, reaching(watcher)) as watch:
                await watch.settled()
                row = (await watch.files())["big"]
                assert row["state"] == "done", row
                assert row["sha256"] == hashlib.sha256((big / "big").read_bytes()).hexdigest()
                assert watch.source.numbers == [1]
                assert line.passed < 2 * 12_000_000, "it was fetched from its start again"


async def test_a_line_that_falls_silent_is_given_up_and_taken_up_again(server: Sshd, big: Path) -> None:
    with proxy(server.port, fault="hang", after=4_000_000) as line:
        watcher = sftp(server, big, port=line.port, idle_timeout=Duration.parse("2s"))
        async with driven(watcher, reaching(watcher)) as watch:
            await watch.settled()
            assert watch.source.numbers == [1]
            assert line.connections >= 2


async def test_a_line_that_breaks_for_ever_ends_in_an_error_and_the_file_stays_on_its_way(server: Sshd, big: Path) -> None:
    with proxy(server.port, fault="cut", after=200_000, times=10_000) as line:
        watcher = sftp(server, big, port=line.port)
        source = reaching(watcher)

        async def watched() -> None:
            async with driven(watcher, source) as watch:
                await watch.look()

        with pytest.raises(BaseExceptionGroup) as caught:
            await watched()
        assert caught.value.split(SourceUnavailable)[1] is None
        assert source.events == []
        watcher = sftp(server, big)
        healed = reaching(watcher)
        healed.state = source.state
        async with driven(watcher, healed) as watch:
            assert await watch.states() == {"big": "seen"}
            await watch.look()
            assert healed.numbers == [1]


async def test_cancelling_stops_a_transfer_at_once(server: Sshd, big: Path) -> None:
    with proxy(server.port, rate=100_000) as line:
        watcher = sftp(server, big, port=line.port, stable_for=Duration.parse("0s"))
        source = reaching(watcher)
        async with anyio.create_task_group() as group:
            group.start_soon(watcher.run, source)
            await source.resting.wait()
            source.on.set()
            await until(lambda: watcher.progress is not None and (watcher.progress.rate or 0) > 0)
            (row,) = await watcher.rows("files", source, state="fetching", limit=10)
            assert row["rate"] > 0
            assert row["seconds_left"] > 1
            assert row["progress"].startswith("fetching, ")
            assert row["progress"].endswith(" s left")
            assert source.worked_on[-1].startswith("big: fetching, ")
            began = monotonic()
            group.cancel_scope.cancel()
        assert monotonic() - began < 10
        passed = line.passed
        await anyio.sleep(0.3)
        assert line.passed - passed < 300_000
        assert source.events == []


async def test_of_several_whole_files_one_is_fetched_and_the_others_are_ready(server: Sshd, big: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes((big / "big").read_bytes())
    (tmp_path / "b").write_bytes(lines(2))
    with proxy(server.port, rate=100_000) as line:
        watcher = sftp(server, tmp_path, port=line.port, stable_for=Duration.parse("0s"))
        source = reaching(watcher)
        async with anyio.create_task_group() as group:
            group.start_soon(watcher.run, source)
            await source.resting.wait()
            source.on.set()
            await until(lambda: watcher.progress is not None and watcher.progress.stage == "fetching")
            rows = await watcher.rows("files", source, state=None, limit=10)
            assert {row["name"]: row["state"] for row in rows} == {"a": "fetching", "b": "ready"}
            group.cancel_scope.cancel()


async def test_the_cheapest_strong_cipher_is_asked_for_first(server: Sshd, tmp_path: Path) -> None:
    watcher = sftp(server, tmp_path)
    area = watcher.area(reaching(watcher))
    await area.client()
    (connection,) = area._connections
    assert connection.get_extra_info("send_cipher") == connection.get_extra_info("recv_cipher") == "aes128-gcm@openssh.com"
    await area.close()


# ---- servers that lie -------------------------------------------------------------------------------------------------


class Shorter(asyncssh.SFTPServer):
    """Files have fewer bytes than it says."""

    def read(self, file_obj: object, offset: int, size: int) -> Any:
        return super().read(file_obj, offset, min(size, max(0, 100 - offset)))


class Longer(asyncssh.SFTPServer):
    """Files have more bytes than it says."""

    def read(self, file_obj: object, offset: int, size: int) -> Any:
        return super().read(file_obj, offset, size) or b"more"


class Restless(asyncssh.SFTPServer):
    """A file is touched whenever it was read."""

    def read(self, file_obj: Any, offset: int, size: int) -> Any:
        os.utime(file_obj.fileno(), (offset + 10, offset + 10))
        return super().read(file_obj, offset, size)


@pytest.mark.parametrize(
    ("area", "reason"),
    [
        (Shorter, "it ended after 100 of 360 bytes"),
        (Longer, "it grew while it was fetched"),
        (Restless, "it was changed while it was fetched"),
    ],
)
async def test_a_file_that_is_not_what_it_is_said_to_be_gives_no_row(tmp_path: Path, area: Any, reason: str) -> None:
    (tmp_path / "a").write_bytes(lines(*range(10)))
    async with misbehaving(area, tmp_path) as server:
        watcher = guest(server)
        async with driven(watcher, reaching(watcher)) as watch:
            await watch.look()
            assert (await watch.files())["a"]["reason"] == reason
            assert watch.source.events == []


class Breaking(asyncssh.SFTPServer):
    """A listing breaks off after its first names."""

    broken = False

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        count = 0
        async for name in super().scandir(path):
            yield name
            count += 1
            if self.broken and count > 2:
                raise asyncssh.SFTPFailure("disk trouble")


async def test_a_listing_that_breaks_off_makes_no_file_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        (tmp_path / f"{number}").write_bytes(lines(number))
    async with misbehaving(Breaking, tmp_path) as server:
        watcher = guest(server)
        source = reaching(watcher)
        async with driven(watcher, source):
            pass
        monkeypatch.setattr(Breaking, "broken", True)
        with pytest.raises(SourceUnavailable, match="cannot be listed"):
            await watcher.run(source)
        monkeypatch.setattr(Breaking, "broken", False)
        async with driven(watcher, source) as watch:
            assert set((await watch.states()).values()) <= {"seen", "settling", "done"}
            await watch.settled()
            assert sorted(source.numbers) == list(range(5))


class Denying(asyncssh.SFTPServer):
    """One folder may not be looked into, one file not be opened."""

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        if path.endswith(b"closed"):
            raise asyncssh.SFTPPermissionDenied("no")
        async for name in super().scandir(path):
            yield name

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> Any:
        if path.endswith(b"locked"):
            raise asyncssh.SFTPPermissionDenied("no")
        return super().open(path, pflags, attrs)


async def test_what_may_not_be_looked_at_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    for name, number in (("a", 1), ("locked", 2), ("closed/b", 3)):
        (tmp_path / name).write_bytes(lines(number))
    async with misbehaving(Denying, tmp_path) as server:
        watcher = guest(server, depth=1)
        async with driven(watcher, reaching(watcher)) as watch:
            await watch.settled()
            assert watch.source.numbers == [1]
            files = await watch.files()
            assert (files["locked"]["state"], files["locked"]["reason"]) == ("blocked", "permission denied")
            assert "folders that cannot be looked into: closed" in watch.source.reason


class Evil(asyncssh.SFTPServer):
    """Its listing has names that lead elsewhere."""

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        attrs = asyncssh.SFTPAttrs(size=3, mtime=1, permissions=0o100644)
        for name in (b"../secret", b"/etc/passwd", b"a/../../b", b"", b"x" * 4097, b"..", b"."):
            yield asyncssh.SFTPName(name, "", attrs)
        async for name in super().scandir(path):
            yield name


async def test_names_that_lead_out_of_their_folder_are_shown_and_never_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(lines(1))
    async with misbehaving(Evil, tmp_path) as server:
        watcher = guest(server, depth=2)
        async with driven(watcher, reaching(watcher)) as watch:
            await watch.settled()
            assert watch.source.numbers == [1]
            states = await watch.states()
            assert (states["../secret"], states["/etc/passwd"]) == ("blocked", "blocked")


async def test_a_password_opens_the_door_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    async with misbehaving(asyncssh.SFTPServer, tmp_path) as server:
        watcher = guest(server)
        async with driven(watcher, reaching(watcher)) as watch:
            await watch.look()
        assert "does not let acme in" in await refusal(sftp(server, "/", private_key=None, password=secret(b"wrong")))
