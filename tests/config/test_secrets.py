from pathlib import Path

import pytest

from cdmd.config.secrets import Secrets


def resolve(reference: str, tmp_path: Path, **environment: str) -> bytes:
    return Secrets(environment, folder=tmp_path).resolve(reference).reveal()


def test_a_secret_comes_from_environment_file_or_credential(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"line\n")
    (tmp_path / "dos").write_bytes(b"line\r\n")
    (tmp_path / "two").write_bytes(b"a\n\n")
    assert resolve("env:T", tmp_path, T="x") == b"x"
    assert resolve("file:token", tmp_path) == b"line"
    assert resolve(f"file:{tmp_path}/token", Path("/nowhere")) == b"line"
    assert resolve("file:dos", tmp_path) == b"line"
    assert resolve("file:two", tmp_path) == b"a\n"
    assert resolve("credential:token", Path("/nowhere"), CREDENTIALS_DIRECTORY=str(tmp_path)) == b"line"
    assert resolve("literal: with a colon", tmp_path) == b"literal: with a colon"


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("env:NOWHERE", "env:NOWHERE is not set in the environment"),
        ("env:", "env: names nothing after the colon"),
        ("env:EMPTY", "the secret env:EMPTY is empty"),
        ("", "the secret [secret] is empty"),
        ("file:nowhere", "file:nowhere cannot be read: No such file or directory"),
        ("file:.", "file:. cannot be read: Is a directory"),
        ("file:a\0b", "cannot be read: not a path"),
        ("file:big", "file:big is larger than 1MiB"),
        ("credential:x", "credential:x cannot be read: CREDENTIALS_DIRECTORY is not set"),
        ("credential:../x", "credential:../x is not the name of a credential"),
        ("credential:..", "credential:.. is not the name of a credential"),
    ],
)
def test_a_reference_that_leads_nowhere_is_named(reference: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * (2**20 + 1))
    with pytest.raises(ValueError, match=r".") as caught:
        resolve(reference, tmp_path, EMPTY="")
    assert reason in str(caught.value)
