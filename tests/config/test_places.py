from pathlib import Path

import pytest

from cdmd.config.loading import private_places
from cdmd.config.places import client_socket, control_socket, state_directory


def test_the_state_directory_is_looked_for_in_order() -> None:
    everything = {"STATE_DIRECTORY": "/var/lib/cdmd:/var/lib/other", "XDG_STATE_HOME": "/xdg", "HOME": "/home/u"}
    assert state_directory("/srv", everything) == Path("/srv")
    assert state_directory("~/here", everything) == Path("/home/u/here")
    assert state_directory(None, everything) == Path("/var/lib/cdmd")
    del everything["STATE_DIRECTORY"]
    assert state_directory(None, everything) == Path("/xdg/cdmd")
    everything["XDG_STATE_HOME"] = "relative"
    assert state_directory(None, everything) == Path("/home/u/.local/state/cdmd")
    with pytest.raises(ValueError, match="no state directory"):
        state_directory(None, {})


def test_the_control_socket_is_looked_for_in_order() -> None:
    everything = {"RUNTIME_DIRECTORY": "/run/cdmd", "XDG_RUNTIME_DIR": "/run/user/1"}
    state = Path("/state")
    assert control_socket("/s.sock", everything, state_dir=state) == Path("/s.sock")
    assert control_socket(None, everything, state_dir=state) == Path("/run/cdmd/control.sock")
    del everything["RUNTIME_DIRECTORY"]
    assert control_socket(None, everything, state_dir=state) == Path("/run/user/1/cdmd/control.sock")
    assert control_socket(None, {}, state_dir=state) == Path("/state/control.sock")
    with pytest.raises(ValueError, match="longer than 107 bytes"):
        control_socket(None, {}, state_dir=Path("/" + "x" * 100))


def test_the_client_looks_in_the_same_places() -> None:
    environment = {"CDMD_SOCKET": "/env.sock", "HOME": "/home/u"}
    assert client_socket("/option.sock", environment) == Path("/option.sock")
    assert client_socket(None, environment) == Path("/env.sock")
    assert client_socket(None, {"HOME": "/home/u"}) == Path("/home/u/.local/state/cdmd/control.sock")


def test_files_with_secrets_are_private_too_wherever_in_the_tables_they_are_named(tmp_path: Path) -> None:
    """Not folders: nobody could read anything after ``file:/``."""
    file = tmp_path / "cdmd.toml"
    file.write_text(
        '[connectors.shop]\ntype = "webhook"\nauth = { secrets = ["file:/run/keys/shop", "literal"] }\n'
        '[plugins.tiers]\ntoken = "file:secrets/tiers"\nodd = "file:/"\nnone = "file:"\nlist = ["file:a\\u0000b", 5]\n'
    )
    found = private_places(file, {})
    assert {Path("/run/keys/shop"), tmp_path / "secrets/tiers", file} <= set(found)
    assert not {Path("/"), tmp_path} & set(found)
