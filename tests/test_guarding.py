"""What plugins are kept from, asked of the guard as the interpreter asks it."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cdmd.errors import Forbidden
from cdmd.plugins import Guard


def ask(guard: Guard, event: str, *arguments: Any, module: str) -> None:
    """The guard as it is called out of a function of that module."""
    scope: dict[str, Any] = {"__name__": module}
    exec("def call(guard, event, arguments): guard(event, arguments)", scope)
    scope["call"](guard, event, arguments)


@pytest.fixture
def guarded(tmp_path: Path) -> tuple[Guard, list[tuple[str, str]]]:
    guard, told = Guard(), []
    owners = SimpleNamespace(owner=lambda module: "acme" if module.startswith("cdmd_acme") else None)
    guard.watch(owners, [tmp_path / "store.db"], lambda plugin, what: told.append((plugin, what)))
    return guard, told


@pytest.mark.parametrize("spelled", ["{}/store.db", "{}/store.db-wal", "{}/../{name}/store.db", "file:{}/store.db?mode=ro"])
def test_a_plugin_does_not_open_what_is_ours_however_it_is_spelled(tmp_path: Path, guarded: Any, spelled: str) -> None:
    guard, told = guarded
    path = spelled.format(tmp_path, name=tmp_path.name)
    for event in ("open", "sqlite3.connect", "os.remove"):
        for given in (path, path.encode(), Path(path)) if not path.startswith("file:") else (path,):
            with pytest.raises(Forbidden, match="which belongs to the daemon alone"):
                ask(guard, event, given, module="cdmd_acme.asking")
    assert {plugin for plugin, _ in told} == {"acme"}
    with pytest.raises(Forbidden):
        ask(guard, "os.rename", tmp_path / "mine", path.partition("?")[0].removeprefix("file:"), module="cdmd_acme")


def test_what_is_not_ours_is_no_affair_of_the_guard(tmp_path: Path, guarded: Any) -> None:
    guard, told = guarded
    for given in (tmp_path / "other.db", tmp_path / "sub" / "store.db", 5, None):
        ask(guard, "open", given, module="cdmd_acme")
    ask(guard, "open", tmp_path / "store.db", module="cdmd.store.database")
    ask(guard, "open", tmp_path / "store.db", module="elsewhere")
    ask(guard, "os.kill", 1, signal.SIGTERM, module="cdmd_acme")
    ask(guard, "socket.connect", tmp_path / "store.db", module="cdmd_acme")
    assert told == []


def test_nobody_forks_the_daemon_and_no_plugin_signals_it(guarded: Any) -> None:
    guard, told = guarded
    for module in ("cdmd_acme", "elsewhere", "cdmd.store.database"):
        with pytest.raises(Forbidden, match="fork"):
            ask(guard, "os.fork", module=module)
    for event, whom in (("os.kill", os.getpid()), ("os.kill", 0), ("os.killpg", os.getpgrp()), ("os.killpg", 0)):
        with pytest.raises(Forbidden, match="signal"):
            ask(guard, event, whom, signal.SIGTERM, module="cdmd_acme")
    ask(guard, "os.kill", os.getpid(), signal.SIGTERM, module="elsewhere")
    ask(guard, "os.killpg", os.getpgrp() + 1, signal.SIGTERM, module="cdmd_acme")
    assert [plugin for plugin, _ in told] == ["acme"] * 5


def test_before_it_knows_the_plugins_it_only_keeps_the_process_from_being_forked() -> None:
    with pytest.raises(Forbidden):
        ask(Guard(), "os.fork", module="cdmd_acme")
    ask(Guard(), "open", "store.db", module="cdmd_acme")


def test_nothing_is_watched_once_the_daemon_has_left(tmp_path: Path, guarded: Any) -> None:
    guard, told = guarded
    guard.leave()
    ask(guard, "open", str(tmp_path / "store.db"), module="cdmd_acme.asking")
    assert told == []
