"""Plugins beside a read-only installation: in a folder that is named, or in that of the system's packages."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from cdmd.cli import plugin_path
from cdmd.testing import DaemonProcess

ROOT = Path(__file__).parents[2]
FROZEN = ROOT / "tests" / "plugins" / "frozen" / "v1_0"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As ``pip install --target`` leaves it."""
    site = tmp_path / "plugins"
    metadata = site / "cdmd_frozen-1.0.dist-info"
    metadata.mkdir(parents=True)
    site.chmod(0o755)
    for module in ("frozen_commands", "frozen_format"):
        shutil.copy(FROZEN / f"{module}.py", site)
    (site / "msgspec.py").write_text("raise RuntimeError('nothing in here takes the place of what is installed')\n")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: cdmd-frozen\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[cdmd]\nsaying = frozen_commands\nlines = frozen_format\n")
    return site


@pytest.mark.acceptance
def test_plugins_in_a_folder_of_their_own_are_found_by_the_daemon_and_by_its_commands(tmp_path: Path, folder: Path) -> None:
    config = '[connectors.files]\ntype = "folder"\npath = "/tmp"\nfiles = ["none"]\nformat = { type = "frozen-lines" }\n'
    with DaemonProcess(tmp_path, config, environment={plugin_path.VARIABLE: str(folder)}) as daemon:
        found = {row["name"]: (row["version"], row["state"]) for row in daemon.ask("plugins")}
        assert (found["lines"], found["saying"]) == (("1.0", "enabled"), ("1.0", "enabled"))
        assert daemon.cdmctl("frozen", "found").stdout == "frozen: found\n"
        folder.chmod(0o777)
        done = daemon.cdmctl("frozen", "found", check=False)
        assert "everybody may write to it (chmod o-w" in done.stderr
        assert done.returncode != 0


def test_a_folder_that_is_not_there_or_belongs_to_somebody_else_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    own = tmp_path / "own"
    own.mkdir(mode=0o755)
    environment = {plugin_path.VARIABLE: os.pathsep.join(["", str(own), str(tmp_path / "none")])}
    assert plugin_path.extend_path(environment) == [f"plugins are not looked for in {tmp_path}/none: No such file or directory"]
    assert sys.path[-1] == str(own)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    if own.stat().st_uid:
        assert "belongs neither to root" in plugin_path.extend_path(environment)[0]


def test_without_the_variable_only_the_systems_folder_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(plugin_path, "FOLDER", str(tmp_path))
    tmp_path.chmod(0o755)
    assert plugin_path.extend_path({}) == []
    assert sys.path[-1] == str(tmp_path)
    assert plugin_path.extend_path({plugin_path.VARIABLE: ""}) == []
