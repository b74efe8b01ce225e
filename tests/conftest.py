"""What every test has: one asyncio backend, no blocking call in a coroutine, and a clock that is handed in."""

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """A blocking call made by cdmd inside the event loop fails the test."""
    with blockbuster_ctx("cdmd") as bb:
        yield bb
