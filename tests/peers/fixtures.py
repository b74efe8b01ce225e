"""Real parts as fixtures, for the conftest of the folders whose tests use them."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.sshd import MISSING, Sshd, sshd


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """OpenSSH's sshd with three host keys."""
    if MISSING:
        pytest.skip(MISSING)
    with sshd(tmp_path_factory.mktemp("sshd")) as found:
        yield found


@pytest.fixture(scope="session")
def gpg_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where gpg keeps the keys of a@example.com, whose passphrase is sesam."""
    if shutil.which("gpg") is None:
        pytest.skip("needs the program gpg")
    folder = tmp_path_factory.mktemp("gpg")
    make = ["--pinentry-mode", "loopback", "--passphrase", "sesam", "--quick-generate-key", "a@example.com", "future-default"]
    subprocess.run(["gpg", "--batch", "--quiet", "--homedir", str(folder), *make, "default", "never"], check=True)
    yield folder
    subprocess.run(["gpgconf", "--homedir", str(folder), "--kill", "all"], check=False)
