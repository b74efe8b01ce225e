"""``cdmd run`` as a process: what is the interpreter's own."""

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdmd.cli import daemon_run
from cdmd.cli.daemon_commands import main


@pytest.fixture
def _interpreter() -> Iterator[None]:
    threshold, switching, mask = gc.get_threshold(), sys.getswitchinterval(), os.umask(0o022)
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)
    sys.setswitchinterval(switching)
    os.umask(mask)


@pytest.mark.usefixtures("_interpreter")
def test_garbage_is_looked_for_from_readiness_on_and_not_while_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Seen to fail both ways: a thousand connectors took a second longer to start, and memory would grow without an end."""
    looked: list[bool] = []

    async def started(given: Any) -> None:
        looked.append(gc.isenabled())
        given.ready(given.config, [])
        looked.append(gc.isenabled())

    monkeypatch.setattr(daemon_run, "run_daemon", started)
    file = tmp_path / "cdmd.toml"
    file.write_text(f'[daemon]\nstate_dir = "{tmp_path / "state"}"\n')
    assert main(["run", "--config", str(file)]) == 0
    assert looked == [False, True]
    assert gc.isenabled()
    assert "cdmd is ready" in capfd.readouterr().out


@pytest.mark.usefixtures("_interpreter")
def test_threads_keep_the_interpreter_longer_only_while_the_daemon_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []

    async def started(given: Any) -> None:
        for long in (True, False):
            given.lengthen(long)
            seen.append(sys.getswitchinterval())

    monkeypatch.setattr(daemon_run, "run_daemon", started)
    monkeypatch.setattr(daemon_run, "leave_within", lambda *_, **__: None)
    file = tmp_path / "cdmd.toml"
    file.write_text(f'[daemon]\nstate_dir = "{tmp_path / "state"}"\n')
    assert main(["run", "--config", str(file)]) == 0
    assert seen == pytest.approx([0.002, 0.0005])


def test_what_only_some_configurations_need_is_not_imported_before() -> None:
    """It is most of what a start takes. Seen to fail with the one import at the top of ``cdmd.connectors.files.places``."""
    code = (
        "import gc, sys\n"
        "from cdmd.cli import daemon_starting\n"
        "sys.modules['cdmd.cli.daemon_run'] = None\n"
        "try: daemon_starting.run.callback(None, ())\n"
        "except ImportError: del sys.modules['cdmd.cli.daemon_run']\n"
        "import cdmd.cli.daemon_run\n"
        "print(sorted({'asyncssh', 'rich', 'cel', 'nats', 'psycopg', 'phonenumbers'} & set(sys.modules)), gc.isenabled())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[] True"
