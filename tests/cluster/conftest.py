"""One nats-server for all tests of a process that do not hurt it; each test has streams of its own."""

from collections.abc import Iterator

import pytest

from tests.cluster.servers import PROGRAM, NatsServer, serving


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    if not PROGRAM:
        pytest.skip("nats-server is not installed (apt-get install nats-server)")
    with serving(tmp_path_factory.mktemp("nats")) as server:
        yield server
