"""What plugins are kept from, asked of the guard as the interpreter asks it."""

import os
import signal
import subprocess
import sys
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


def test_a_path_relative_to_an_open_folder_is_followed_there(tmp_path: Path, guarded: Any) -> None:
    guard, told = guarded
    (tmp_path / "sub").mkdir()
    ours, other = (os.open(folder, os.O_RDONLY) for folder in (tmp_path, tmp_path / "sub"))
    try:
        refused = [
            ("os.remove", "store.db", ours), ("os.remove", "../store.db", other), ("os.rename", "store.db", "/x", ours, -1),
            ("os.rename", "/x", "store.db", -1, ours), ("os.link", "store.db", "y", ours, other),
            ("os.symlink", "/x", "store.db", ours), ("open", "store.db", None, 0),
        ]  # fmt: skip
        for event, *arguments in refused:
            with pytest.raises(Forbidden):
                ask(guard, str(event), *arguments, module="cdmd_acme")
        count = len(told)
        for event, *arguments in [("os.remove", "store.db", other), ("os.rename", "store.db", "z", other, other)]:
            ask(guard, str(event), *arguments, module="cdmd_acme")
        ask(guard, "open", str(tmp_path / "sub" / "store.db"), None, 0, module="cdmd_acme")
        assert (count, len(told)) == (len(refused), len(refused))
    finally:
        os.close(ours)
        os.close(other)


def test_the_interpreter_tells_the_guard_of_folders_as_it_is_written_here(tmp_path: Path) -> None:
    code = (
        "import os, sys\nseen = []\n"
        "sys.addaudithook(lambda event, given: seen.append((event, given)))\n"
        "folder = os.open(sys.argv[1], os.O_RDONLY)\nos.close(os.open('a', os.O_CREAT | os.O_WRONLY, dir_fd=folder))\n"
        "os.link('a', 'b', src_dir_fd=folder, dst_dir_fd=folder)\nos.rename('b', 'c', src_dir_fd=folder, dst_dir_fd=folder)\n"
        "os.symlink('c', 'd', dir_fd=folder)\nos.remove('d', dir_fd=folder)\n"
        "told = dict(seen)\n"
        "print(told['open'][1], *(told[name][place] == folder for name, place in "
        "(('os.link', 2), ('os.link', 3), ('os.rename', 2), ('os.rename', 3), ('os.symlink', 2), ('os.remove', 1))))"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["None", *["True"] * 6]


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


def test_what_is_opened_while_the_interpreter_ends_is_no_affair_of_a_hook_whose_module_is_gone(tmp_path: Path) -> None:
    (tmp_path / "outliving.py").touch()
    code = (
        "import os, sys\nimport outliving\nimport cdmd.plugins.guarding as guarding\n"
        "class Late:\n"
        "    module = guarding\n"
        "    def __del__(self, opens=os.open, write=os.write, null=os.devnull):\n"
        "        write(1, b'gone' if self.module._WATCHED is None else b'there')\n"
        "        opens(null, 0)\n"
        "outliving.late, sys.outliving = Late(), outliving\n"
        "sys.addaudithook(guarding.Guard())\n"
        "sys.addaudithook(guarding.Fence([], package='acme', daemon=1, notice=print))\n"
    )
    path = os.pathsep.join((str(tmp_path), *sys.path))
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": path})
    assert (ended.stdout, ended.stderr, ended.returncode) == ("gone", "", 0)
