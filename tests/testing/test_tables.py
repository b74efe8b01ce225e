from contextlib import asynccontextmanager

import pytest

from cdmd.testing.tables import MemoryFeeds
from tests.store.contract_feeds import FeedsContract, Reopen

pytestmark = pytest.mark.anyio


class TestMemoryFeeds(FeedsContract):
    @pytest.fixture
    def reopen(self) -> Reopen:
        feeds = MemoryFeeds()

        @asynccontextmanager
        async def opened():  # type: ignore[no-untyped-def]
            yield feeds

        return opened
