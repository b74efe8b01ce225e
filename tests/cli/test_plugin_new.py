"""``cdmd plugin new``: what it writes is tried for real, in an interpreter of its own."""

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import cdmd
from cdmd.cli.daemon_commands import main
from cdmd.testing import DaemonProcess

ROOT = Path(cdmd.__file__).parents[1]


KINDS = ("extension", "connector", "format", "target", "command")


TYPES = ROOT / ".mypy_cache" / "plugins"
"""What mypy keeps of cdmd's own types, which are the same for every plugin."""


@pytest.mark.acceptance
@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_of_every_kind_passes_its_own_tests_and_is_gold(tmp_path: Path, kind: str) -> None:
    assert main(["plugin", "new", "loyalty-points", "--kind", kind, "--into", str(tmp_path)]) == 0
    folder = tmp_path / "cdmd-loyalty-points"
    done = subprocess.run(
        [sys.executable, "-m", "cdmd", "plugin", "check", str(folder), "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MYPY_CACHE_DIR": str(TYPES)},
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["tier"], [one for one in found["criteria"] if one["missing"]]) == ("gold", [])
    assert yaml_words(folder / ".github" / "workflows" / "test.yml") >= {"python -m pytest", "${{ matrix.python }}"}
    assert "__pycache__/" in (folder / ".gitignore").read_text().splitlines()


def yaml_words(file: Path) -> set[str]:
    """What stands behind the colons of a plain YAML file."""
    return {line.partition(": ")[2].strip() for line in file.read_text().splitlines()}


def test_a_new_plugin_is_found_under_its_name_once_it_is_installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin", "new", "cdmd-loyalty", "--into", str(tmp_path)]) == 0
    assert "pip install -e" in capsys.readouterr().out
    project = tomllib.loads((tmp_path / "cdmd-loyalty" / "pyproject.toml").read_text())
    assert project["project"]["name"] == "cdmd-loyalty"
    assert project["project"]["dependencies"] == [f"cdmd>={cdmd.__version__}", "msgspec>=0.19"]
    ((name, module),) = project["project"]["entry-points"]["cdmd"].items()
    (packaged,) = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert (name, module) == ("loyalty", packaged)
    assert EntryPoint(name, module, "cdmd").module == packaged
    assert (tmp_path / "cdmd-loyalty" / packaged / "__init__.py").exists()
    assert (tmp_path / "cdmd-loyalty" / packaged / "py.typed").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_writes_is_tidy(tmp_path: Path, kind: str) -> None:
    assert main(["plugin", "new", "loyalty", "--kind", kind, "--into", str(tmp_path)]) == 0
    code = tmp_path / "cdmd-loyalty" / "cdmd_loyalty" / "__init__.py"
    written = "".join(file.read_text() for file in code.parents[1].rglob("*") if file.is_file())
    assert "{{" not in written.replace("${{ matrix.python }}", "")
    settings = ["--config", str(ROOT / "pyproject.toml")]
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *settings, "."],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=code.parent,
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "name", ["", "cdmd-", "Loyalty", "1st", "a--b", "-a", "a-", "a_b", "a b", "../a", "a" * 41, "å", "builtin"]
)
def test_a_name_that_cannot_be_is_refused_in_one_sentence(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plugin", "new", "--into", str(tmp_path), "--", name]) == 2
    assert "name" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("class", "extension", "is a word of Python"),
        ("webhook", "connector", "is taken by cdmd itself"),
        ("csv", "format", "is taken by cdmd itself"),
        ("sftp", "target", "is taken by cdmd itself"),
        ("status", "command", "is taken by cdmd itself"),
    ],
)
def test_a_name_under_which_nothing_would_be_found_is_refused(
    tmp_path: Path, name: str, kind: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plugin", "new", name, "--kind", kind, "--into", str(tmp_path)]) == 2
    assert why in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cdmd-loyalty").mkdir()
    assert main(["plugin", "new", "loyalty", "--into", str(tmp_path)]) == 1
    assert "exists already; nothing was written" in capsys.readouterr().err
    assert list((tmp_path / "cdmd-loyalty").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_said_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin", "new", "loyalty", "--into", "/proc"]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.skipif(importlib.util.find_spec("hatchling") is None, reason="hatchling is not installed here")
def test_it_installs_and_the_daemon_finds_it(tmp_path: Path) -> None:
    assert main(["plugin", "new", "loyalty", "--into", str(tmp_path)]) == 0
    site = tmp_path / "site"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--target",
        str(site),
    ]
    subprocess.run([*command, str(tmp_path / "cdmd-loyalty")], check=True, capture_output=True, timeout=60)
    environment = {"PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    with DaemonProcess(tmp_path, environment=environment) as daemon:
        (row,) = [one for one in daemon.ask("plugins") if one["name"] == "loyalty"]
    assert (row["state"], row["version"]) == ("enabled", "0.1.0")
