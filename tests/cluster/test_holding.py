"""The lease of a journal, waited for: what is said meanwhile."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from cdmd.cluster.holding import _waited_for
from cdmd.errors import NotDurable
from tests.store.samples import HandClock


class Leases:
    """Tells one after the other of what it was given; what is an error is raised."""

    def __init__(self, *found: Any) -> None:
        self._found = list(found)

    async def take(self, name: str, *, seconds: float) -> Any:
        found = self._found.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


@pytest.mark.anyio
async def test_where_nobody_knows_whose_turn_it_is_that_is_said_once_until_somebody_does() -> None:
    away = NotDurable("no NATS server can be reached")
    leases: Any = Leases(None, away, away, None, away, "mine")
    with capture_logs() as lines:
        assert await _waited_for(leases, HandClock()) == "mine"
    assert [(line["event"], line["error"]) for line in lines] == [("turn_is_not_known", str(away))] * 2
