"""Settings as TOML to paste: TOML it is, and once what has to be given is given, right."""

import tomllib
from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

import cdmd.builtin
from cdmd.config.example import example
from cdmd.contracts import ChosenFormat
from cdmd.kit.quantities import Duration
from cdmd.kit.secret import Secret
from cdmd.plugins import Plugins


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    every: Annotated[Duration, Meta(description="How often.")] = Duration.parse("1h")
    url: Annotated[str, Meta(description="Where.")]
    token: Secret | None = None
    mode: Literal["slow", "quick"]
    names: tuple[str, ...] = ("a", "b")
    table: dict[str, int] = {}
    format: ChosenFormat | None = None


def test_required_keys_come_first_and_the_others_are_behind_a_mark_with_their_defaults() -> None:
    lines = [line.split(" # ", 1) for line in example("plugins.x", Settings).splitlines()]
    assert [line[0].rstrip() for line in lines] == [
        "[plugins.x]",
        'url = ""',
        'mode = "slow"',
        '# every = "1h"',
        '# token = "credential:NAME"',
        '# names = ["a", "b"]',
        "# table = {}",
        '# format = { type = "csv" }',
    ]
    assert lines[1][1] == "text, required; Where."
    assert lines[3][1] == "duration; How often."


@pytest.mark.parametrize("kind", ["connector_types", "target_types", "formats"])
def test_of_every_type_of_ours_it_is_toml_also_where_every_key_is_set(kind: str) -> None:
    plugins = Plugins.load([], {}, modules={"builtin": cdmd.builtin})
    for name, one in getattr(plugins, kind)().items():
        text = example(f"x.{name}", one.Settings, type=name)
        assert tomllib.loads(text)["x"][name]["type"] == name
        everything = tomllib.loads(text.replace("\n# ", "\n"))["x"][name]
        assert set(everything) == {"type", *(field.encode_name for field in msgspec.structs.fields(one.Settings))}
