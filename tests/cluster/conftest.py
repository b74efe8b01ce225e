"""One nats-server for the tests of a process that do not hurt it, with streams of their own; a PostgreSQL in the same way."""

from collections.abc import Iterator

import pytest

from tests.cluster.servers import PROGRAM, NatsServer, serving
from tests.store.postgres import server

__all__ = ["nats", "server"]


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    if not PROGRAM:
        pytest.skip("nats-server is not installed (apt-get install nats-server)")
    with serving(tmp_path_factory.mktemp("nats")) as one:
        yield one
