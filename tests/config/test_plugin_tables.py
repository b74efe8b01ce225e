"""A plugin's own table, where the plugin says what stands in it."""

from pathlib import Path
from typing import Any

import msgspec

from cdmd.config.loading import load
from cdmd.config.schema import Config
from cdmd.kit.secret import Secret


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: str
    tries: int = 3
    token: Secret | None = None


def loaded(folder: Path, table: str, **named: Any) -> Config:
    file = folder / "cdmd.toml"
    file.write_text(f'[daemon]\nstate_dir = "{folder}/state"\n[plugins.acme]\n{table}\n')
    file.chmod(0o600)
    given = {"plugins": {"acme": Settings}, **named}
    return load(file, types={}, environment={"ACME": "s3cret"}, randomness=lambda count: b"x" * count, **given)


def test_defaults_and_secrets_are_in_it(tmp_path: Path) -> None:
    config = loaded(tmp_path, 'url = "x"\ntoken = "env:ACME"\nenabled = true')
    assert config.plugins["acme"] == {"url": "x", "tries": 3, "token": "s3cret", "enabled": True}
    assert config.plugin_problems == {}
    assert config.warnings == ()


def test_a_mistake_is_its_plugins_alone_and_a_warning_with_its_key(tmp_path: Path) -> None:
    config = loaded(tmp_path, 'urll = "x"\ntries = "many"')
    assert config.plugin_problems == {
        "acme": [
            "plugins.acme.urll: unknown key (did you mean url?)",
            "plugins.acme.url: missing key",
            "plugins.acme.tries: expected an integer, got text",
        ]
    }
    assert [warning.removeprefix(f"{tmp_path}/cdmd.toml: ") for warning in config.warnings] == config.plugin_problems["acme"]


def test_one_that_has_no_table_has_its_defaults_and_is_told_what_is_missing(tmp_path: Path) -> None:
    config = loaded(tmp_path, "", plugins={"other": Settings})
    assert config.plugins == {"acme": {}, "other": {"tries": 3}}
    assert config.plugin_problems == {"other": ["plugins.other.url: missing key"]}
    assert config.warnings[-1].endswith("plugins.other.url: missing key")


def test_without_a_declaration_everything_is_taken(tmp_path: Path) -> None:
    config = loaded(tmp_path, 'whatever = ["env:ACME"]', plugins={})
    assert config.plugins["acme"] == {"whatever": ["s3cret"]}


def test_a_literal_secret_is_warned_of_once(tmp_path: Path) -> None:
    assert len([one for one in loaded(tmp_path, 'url = "x"\ntoken = "written"').warnings if "literal secret;" in one]) == 1
