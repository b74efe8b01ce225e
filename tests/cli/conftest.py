from collections.abc import Iterator
from pathlib import Path

import pytest

from cdmd.cli.control_commands import cli
from cdmd.cli.running import run
from tests.cli.calling import Cdmctl, Ended
from tests.control.doubles import Daemon, MemoryRuntime, serving


@pytest.fixture
def runtime(tmp_path: Path) -> MemoryRuntime:
    return MemoryRuntime(tmp_path)


@pytest.fixture
def daemon(runtime: MemoryRuntime, tmp_path: Path) -> Iterator[Daemon]:
    with serving(Daemon(runtime, tmp_path / "control.sock")) as answering:
        yield answering


@pytest.fixture
def cdmctl(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> Cdmctl:
    def call(*arguments: str, role: str = "admin") -> Ended:
        daemon.client(role)
        status = run(cli, ["--socket", str(daemon.path), *arguments], name="cdmctl")
        captured = capsys.readouterr()
        return Ended(status, captured.out, captured.err)

    return call
