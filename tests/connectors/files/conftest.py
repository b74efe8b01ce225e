from collections.abc import Iterator

import pytest

from tests.peers.sshd import MISSING, Sshd, sshd


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """OpenSSH's sshd with three host keys."""
    if MISSING:
        pytest.skip(MISSING)
    with sshd(tmp_path_factory.mktemp("sshd")) as found:
        yield found
