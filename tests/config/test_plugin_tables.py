"""A plugin's own table, where the plugin says what stands in it."""

from pathlib import Path
from typing import Any

import msgspec

from cdmd.config.loading import load
from cdmd.config.plugins import own_keys
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
    given = {"plugins": {"acme": Settings}, "types": {}, **named}
    return load(file, environment={"ACME": "s3cret"}, randomness=lambda count: b"x" * count, **given)


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


class Broken(msgspec.Struct):
    url: "Nowhere"  # type: ignore[name-defined]  # noqa: F821 - as where it is imported for a type checker alone


def test_a_struct_that_cannot_be_read_is_its_plugins_mistake_alone(tmp_path: Path) -> None:
    config = loaded(tmp_path, 'url = "x"', plugins={"acme": Broken})
    (problem,) = config.plugin_problems["acme"]
    assert problem.startswith("plugins.acme: what the plugin declares cannot be checked: it raised NameError")
    assert config.plugins["acme"] == {"url": "x"}


class Own(msgspec.Struct):
    """Keys of a connector and a target that are called as what ours say of themselves."""

    demand: int = 1
    told_apart_by: str = "nothing"
    audience: list[str] = []


class Methods(msgspec.Struct):
    def demand(self) -> str:
        return "much"


def test_a_plugins_keys_may_be_called_as_what_is_of_ours(tmp_path: Path) -> None:
    tables = '[connectors.one]\ntype = "own"\n[connectors.two]\ntype = "own"\n[connectors.three]\ntype = "methods"\n'
    tables += '[targets.out]\ntype = "own"\nevents = ["*"]\naudience = ["https://api.example"]\n'
    config = loaded(tmp_path, f'url = "x"\n{tables}', types={"own": Own, "methods": Methods}, targets={"own": Own})
    assert config.connectors["one"].settings == Own()
    assert config.targets["out"].settings.audience == ["https://api.example"]


def test_a_plugin_is_handed_what_is_its_own() -> None:
    assert own_keys({"url": "x", "enabled": True, "isolate": {"max_memory": "1GiB"}}) == {"url": "x"}
    assert own_keys(None) == {}
