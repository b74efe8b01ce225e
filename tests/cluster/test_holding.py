"""The lease of a journal, waited for: what is said meanwhile."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from cdmd.cluster.connection import Access
from cdmd.cluster.handing import HandingOn
from cdmd.cluster.holding import _waited_for, begin
from cdmd.cluster.place import Place
from cdmd.errors import NotDurable
from tests.store.samples import HandClock


class Leases:
    """Tells one after the other of what it was given; what is an error is raised."""

    def __init__(self, *found: Any) -> None:
        self._found = list(found)

    async def ensure(self) -> None:
        """It is there."""

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


@pytest.mark.anyio
async def test_whoever_waits_for_the_one_that_led_is_told_to_send_again_before_this_one_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = list[str]()

    @asynccontextmanager
    async def meanwhile(handling: Callable[..., HandingOn]) -> AsyncIterator[None]:
        handling(largest=1)
        yield
        steps.append("stands by no more")

    monkeypatch.setattr("cdmd.cluster.holding.JetStreamLeases", lambda *_, **given: Leases(None, None, "mine"))
    monkeypatch.setattr(HandingOn, "give_up", lambda handler: steps.append("told"))
    place, link = Place(access=Access(servers=()), holder="b"), object()
    found: Any = await begin(link, place, clock=HandClock(), meanwhile=meanwhile)  # type: ignore[arg-type]
    assert found[1] == "mine"
    assert steps == ["told", "stands by no more"]
