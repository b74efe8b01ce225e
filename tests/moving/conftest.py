"""One nats-server and one PostgreSQL for all tests of a process; each test has a journal and a database of its own."""

from collections.abc import Iterator

import pytest

from tests.cluster.servers import PROGRAM, NatsServer, serving
from tests.store.postgres import Server, running


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    if not PROGRAM:
        pytest.skip("nats-server is not installed (apt-get install nats-server)")
    with serving(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with running() as server:
        yield server
