"""``cdmd plugin check``: what is wrong is found, each on its tier, with its place."""

import json
from pathlib import Path

import pytest

from cdmd.cli.daemon_commands import main
from cdmd.cli.plugin_scale import CRITERIA

BAD = """
import time
import cdmd
import msgspec
from cdmd.kit.clock import SystemClock
from cdmd.store import store

class Settings(msgspec.Struct):
    url: str = ""
    event: cdmd.EventSettings | None = None

class Format:
    name = "odd"
    Settings = Settings
    def __init__(self, settings): ...
    def rows(self, stream): ...

@cdmd.extension(on="*")
async def slow(event, context):
    time.sleep(float(context.settings["pause"]))
    def later():
        open("fine in a function of its own")

@cdmd.hookimpl
def cdmd_extensions():
    return [slow]

@cdmd.hookimpl
def cdmd_formats():
    return [Format]
"""


def package(folder: Path, code: str, *, test: str = "def test_it(): ...\n") -> Path:
    (folder / "tests").mkdir(parents=True)
    (folder / "cdmd_odd.py").write_text(code)
    (folder / "tests" / "test_odd.py").write_text(test)
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "cdmd-odd"\ndependencies = ["cdmd"]\n[project.entry-points."cdmd"]\nodd = "cdmd_odd"\n'
    )
    return folder


def test_everything_that_is_missing_is_said_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = package(tmp_path / "odd", BAD, test="from tests import no_such_module\n")
    assert main(["plugin", "check", str(folder), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    missing = {one["name"]: " ".join(one["missing"]) for one in found["criteria"]}
    assert found["tier"] is None
    for name, part in {
        "loads": "",
        "public names": "cdmd_odd.py:5: imports cdmd.kit.clock",
        "tests": "its tests fail",
        "said what it is": "project.license is missing",
        "settings": "declare them with the hook cdmd_settings odd: the key url has no Meta(description=...)$",
        "deadlines": "cdmd_odd.py:18: the extension does not say timeout=",
        "never blocks": "cdmd_odd.py:20: time.sleep blocks the event loop for everybody",
        "README": "does not say how it is installed",
        "in the daemon": "no test runs it in a daemon",
        "types": "its package has no py.typed mypy: ",
        "versions": "CDMD_HOOKS = (1, 0)) pyproject.toml: cdmd has no lower bound",
    }.items():
        assert part in f"{missing.pop(name)}$", name
    assert missing == {}
    assert "open" not in " ".join(text for one in found["criteria"] for text in one["missing"] if "blocks" in text)


def test_one_that_cannot_be_loaded_says_why_and_stands_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = package(tmp_path / "odd", "raise KeyboardInterrupt\n")
    assert main(["plugin", "check", str(folder)]) == 1
    said = capsys.readouterr()
    assert "- bronze  loads\n            odd: it raised KeyboardInterrupt" in said.out
    assert "it is below bronze" in said.out
    assert "the plugin is below bronze" in said.err


def test_a_folder_without_a_package_is_not_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin", "check", str(tmp_path)]) == 4
    assert "is no package" in capsys.readouterr().err


def test_every_line_of_the_scale_is_in_the_guide() -> None:
    guide = (Path(__file__).parents[2] / "plugins" / "README.md").read_text()
    assert [one.name for one in CRITERIA if f"| {one.tier} | {one.name} | {one.asks} |" not in guide] == []
