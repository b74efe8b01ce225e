"""``format = { type = ..., ... }`` of a connector's settings: any format's keys are checked like the connector's own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import msgspec
import pytest

from cdmd.config.loading import load
from cdmd.config.reference import reference
from cdmd.config.schema import Config
from cdmd.contracts import ChosenFormat
from cdmd.errors import ConfigInvalid
from cdmd.kit.quantities import Size
from cdmd.models import Row


class ShoutSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    volume: int
    most: Size = Size.parse("1KiB")


class Shout:
    """A plugin's format: every line in capitals."""

    name: ClassVar[str] = "shout"
    Settings: ClassVar[type[msgspec.Struct]] = ShoutSettings

    def __init__(self, settings: ShoutSettings) -> None:
        self.settings = settings

    def rows(self, stream: BinaryIO) -> Iterator[Row]:
        for number, line in enumerate(stream, 1):
            yield Row(number, number, {"text": line.decode().strip().upper()})


class BoxSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: str
    format: ChosenFormat
    other: ChosenFormat | None = None


def loaded(folder: Path, text: str) -> Config:
    file = folder / "cdmd.toml"
    file.write_text(f'[connectors.box]\ntype = "box"\npath = "/in"\n{text}\n')
    environment = {"STATE_DIRECTORY": str(folder)}
    return load(file, types={"box": BoxSettings}, formats={"shout": Shout}, environment=environment, randomness=bytes)


def test_a_connector_gets_its_format_ready_made_and_configured(tmp_path: Path) -> None:
    config = loaded(tmp_path, 'format = { type = "shout", volume = 11 }')
    chosen: ChosenFormat = config.connectors["box"].settings.format
    made = chosen.make()
    assert isinstance(made, Shout)
    assert made.settings == ShoutSettings(volume=11)
    assert config.effective["connectors"]["box"]["format"] == {"type": "shout", "volume": 11, "most": "1KiB"}
    assert chosen == loaded(tmp_path, 'format = { type = "shout", volume = 11 }').connectors["box"].settings.format


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('format = { type = "shuot", volume = 1 }', 'format.type: "shuot" is none of "shout" (did you mean shout?)'),
        ("format = { volume = 1 }", "format.type: missing key"),
        ("format = { type = 1, volume = 1 }", 'format.type: an integer is none of "shout"'),
        ('format = { type = "shout", volume = 1, mosst = "1KiB" }', "format.mosst: unknown key (did you mean most?)"),
        ('format = { type = "shout" }', "format.volume: missing key"),
        ('format = { type = "shout", volume = 1, most = "1 kb" }', "format.most: '1 kb' is not a size"),
        ('format = "shout"', "format: expected a table, got text"),
        ("", "format: missing key"),
        ('format = { type = "shout", volume = 1 }\nother = { type = "whisper" }', 'other.type: "whisper" is none of "shout"'),
    ],
)
def test_a_mistake_in_it_is_told_with_its_key(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        loaded(tmp_path, text)
    (told,) = caught.value.problems
    assert f"connectors.box.{problem}" in told


def test_the_reference_has_a_section_for_each_format(tmp_path: Path) -> None:
    told: Any = reference({"box": BoxSettings}, {"shout": ShoutSettings})
    assert '### `[connectors.NAME.format] with type = "shout"`' in told
    assert "| `volume` | integer | required |" in told
    assert told.count("connectors.NAME.format]") == 1
    assert "| `format` | table | required |" in told
