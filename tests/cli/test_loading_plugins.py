"""A plugin whose own code fails on a configuration: the others are loaded, and a warning says what is wrong."""

from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from cdmd.cli.daemon_commands import main
from cdmd.cli.loading import load_all
from cdmd.config.schema import Absent
from tests.daemon.doubles import hooks

CONFIG = """
[connectors.shop]
type = "webhook"
verify = "none"
[connectors.crm]
type = "odd"
path = "/crm"
{crm}
[targets.lake]
type = "odd"
events = ["*"]
{lake}
"""


class Odd:
    """Fails where it is told to."""

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """``fails``: where."""

        fails: str = ""
        path: str = ""

        def __post_init__(self) -> None:
            if self.fails == "settings":
                raise KeyError("joe@example.com")

    type: ClassVar[str] = "odd"

    def __init__(self, name: str, settings: Any) -> None:
        if settings.fails == "made":
            raise KeyError("joe@example.com")
        if settings.fails == "streams":
            self.streams = ["a", "b"]

    @classmethod
    def check(cls, name: str, settings: Any) -> Sequence[str]:
        if settings.fails == "checked":
            raise KeyError("joe@example.com")
        return []

    async def run(self, source: Any) -> None: ...


PLUGIN = hooks(cdmd_connectors=lambda: [Odd], cdmd_targets=lambda: [Odd])
POINT = EntryPoint("odd", f"{__name__}:PLUGIN", "cdmd")


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd.cli.loading.entry_points", lambda group: [POINT] if group == "cdmd" else [])


def written(folder: Path, **fails: str) -> Path:
    file = folder / "cdmd.toml"
    file.write_text(CONFIG.format(**{"crm": "", "lake": ""} | {one: f'fails = "{where}"' for one, where in fails.items()}))
    return file


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("settings", "its type odd cannot check it: it raised KeyError"),
        ("checked", "its type odd cannot check it: it raised KeyError"),
        ("made", "its type odd cannot make it: it raised KeyError"),
        ("streams", "its type odd cannot make it: its `streams` are not a cdmd.StreamFrame by name"),
    ],
)
def test_a_connector_whose_plugin_fails_is_left_out_and_the_others_are_loaded(tmp_path: Path, where: str, said: str) -> None:
    config = load_all(written(tmp_path, crm=where)).config
    settings = config.connectors["crm"].settings
    assert isinstance(settings, Absent)
    assert (settings.unavailable.startswith(said), settings.path) == (True, "/crm")
    assert not isinstance(config.connectors["shop"].settings, Absent)
    assert any(f"connectors.crm: {said}" in one for one in config.warnings)
    assert not any("joe@" in one for one in config.warnings)


@pytest.mark.parametrize("where", ["checked", "made"])
def test_so_is_a_target_and_the_check_before_the_start_lets_the_others_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    file = written(tmp_path, lake=where)
    assert isinstance(load_all(file).config.targets["lake"].settings, Absent)
    assert main(["check", "--config", str(file)]) == 0
    assert "targets.lake: its type odd cannot" in capsys.readouterr().err
