from pathlib import Path
from typing import Any

import pytest

from cdmd.cli.daemon_commands import cli
from cdmd.cli.online import system_resolve, unreachable
from cdmd.cli.running import run
from cdmd.config.schema import Config, NetworkSettings

ADDRESSES = {
    "contracts.example": ["93.184.216.34"],
    "intern.example": ["10.1.2.3"],
    "half.example": ["10.1.2.3", "93.184.216.34"],
}


def resolve(host: str, port: int | None) -> list[str]:
    if host not in ADDRESSES:
        raise OSError(-2, "Name or service not known")
    return ADDRESSES[host]


def asked(*urls: str, **given: Any) -> list[str]:
    plugins = {"warranty": {"urls": list(urls)}}
    config = Config(state_dir=Path("/x"), control_socket=Path("/x/s"), plugins=plugins, files=("a.toml",), **given)
    return unreachable(config, resolve=resolve)


def test_hosts_that_are_found_and_allowed_are_no_mistake() -> None:
    assert asked("https://contracts.example/api", "https://half.example") == []
    assert asked("https://intern.example", network=NetworkSettings(allow_addresses=("10.0.0.0/8",))) == []


def test_a_host_without_an_address_or_with_refused_ones_only_is_named_with_its_table() -> None:
    lost, intern = asked("https://nowhere.example", "https://intern.example", "not a url")[::-1]
    assert lost == "a.toml: plugins.warranty: the host nowhere.example is not found: Name or service not known"
    assert intern.startswith("a.toml: plugins.warranty: intern.example: ")


def test_the_machines_resolver_knows_an_address() -> None:
    assert system_resolve("127.0.0.1", 80) == ["127.0.0.1"]


def test_check_looks_hosts_up_when_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cdmd.cli.daemon_checking.unreachable", lambda config: ["a.toml: plugins.w: lost"])
    file = tmp_path / "cdmd.toml"
    file.write_text(f'[daemon]\nstate_dir = "{tmp_path}"\n')
    assert run(cli, ["check", "--config", str(file)], name="cdmd") == 0
    assert run(cli, ["check", "--config", str(file), "--online"], name="cdmd") == 6
    assert capsys.readouterr().err == "a.toml: plugins.w: lost\n"
