"""Child processes that are real ones: what they see, how they end, and that none outlives who started it."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import anyio
import pytest

from cdmd.kit.children import Child, plain_environment, spawn

ROOT = Path(__file__).parents[2]
GIVEN = plain_environment(os.environ)


def run(*arguments: str, **environment: str) -> Child:
    return spawn("tests.kit.childish", arguments, environment={**GIVEN, **environment})


@pytest.mark.anyio
async def test_it_hears_and_answers_and_ends_when_it_is_let_go_of() -> None:
    with run("echoes") as child:
        child.socket.sendall(b"hello")
        assert await anyio.to_thread.run_sync(child.socket.recv, 100) == b"hello"
        assert child.status() is None
        child.socket.shutdown(1)
        with anyio.fail_after(30):
            assert await child.ended() == 7
        assert child.status() == 7


def test_it_has_nothing_of_ours_but_its_end_of_the_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "secret")
    with (tmp_path / "file").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        with run("tells") as child:
            open_files, token, path, leads = eval(child.socket.recv(10_000))
    assert (open_files[:4], token, path, leads) == ([0, 1, 2, 3], None, os.environ["PATH"], True)
    assert len(open_files) == 5, "the fifth is the list of them"
    assert plain_environment({"TOKEN": "x", "LC_ALL": "C", "LISTEN_FDS": "2", "PATH": "/bin"}) == {
        "LC_ALL": "C",
        "PATH": "/bin",
    }


@pytest.mark.anyio
async def test_the_signal_that_ended_it_is_told() -> None:
    with run("dies") as child, anyio.fail_after(30):
        assert await child.ended() == -signal.SIGSEGV


def test_one_that_heeds_nothing_is_ended() -> None:
    child = run("hangs")
    assert child.socket.recv(1) == b"x"
    assert child.end() == -signal.SIGKILL
    assert child.end() == -signal.SIGKILL, "once is enough, twice does no harm"


def test_it_does_not_outlive_a_parent_that_is_killed() -> None:
    """Also one that hangs and looks at nothing: the kernel ends it."""
    parent = """
        import os, signal
        from cdmd.kit.children import spawn
        child = spawn("tests.kit.childish", ["hangs"], environment=os.environ)
        child.socket.recv(1)
        print(child.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    started = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(parent)], cwd=ROOT, stdout=subprocess.PIPE, timeout=60, check=False, text=True
    )
    left = Path(f"/proc/{started.stdout.strip()}")
    for _ in range(500):
        if not left.exists() or ") Z " in (left / "stat").read_text():
            return
        threading.Event().wait(0.02)
    os.kill(int(left.name), signal.SIGKILL)
    pytest.fail("it outlived its parent")


@pytest.mark.anyio
@pytest.mark.parametrize("noticed", [True, False])
async def test_what_it_started_does_not_outlive_it(noticed: bool) -> None:
    child = run("leaves")
    with anyio.fail_after(30):
        helper = int(await anyio.to_thread.run_sync(child.socket.recv, 100))
        if noticed:
            assert await child.ended() == 3
        assert not gone(helper)
        await anyio.to_thread.run_sync(child.end)
        while True:
            if gone(helper):
                break
            await anyio.sleep(0.02)
    child.kill()  # its number may be another's by now


def gone(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_one_that_cannot_be_watched_is_not_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(pid: int) -> int:
        found.append(pid)
        raise OSError(errno.EMFILE, "too many open files")

    found: list[int] = []
    monkeypatch.setattr(os, "pidfd_open", full)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="too many"):
        run("hangs")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(found[0], os.WNOHANG)


def test_what_cannot_be_started_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FileNotFoundError):
        run("echoes")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
