"""How long servers are waited for that do not answer yet."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cdmd.cluster.leading import LeadingJournal
from cdmd.cluster.opening import journal_at
from cdmd.config.sharing import JournalSettings
from cdmd.errors import NotDurable
from tests.store.samples import HandClock

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("stood_by", "left"),
    [
        ([0.0] * 30, "opened"),
        ([3600.0] + [0.0] * 30, "opened"),
        ([0.0] * 30 + [3600.0] + [0.0] * 30, "opened"),
        ([0.0] * 90, "given up"),
        ([3600.0] + [0.0] * 90, "given up"),
    ],
)
async def test_they_are_waited_for_a_minute_from_when_they_first_did_not_answer(
    monkeypatch: pytest.MonkeyPatch, stood_by: list[float], left: str
) -> None:
    """Not from when this node began to stand by."""
    clock, tries = HandClock(), iter(stood_by)

    @asynccontextmanager
    async def opening(*_: object, **__: object) -> AsyncIterator[None]:
        if (seconds := next(tries, None)) is not None:
            await clock.sleep(seconds)
            raise NotDurable("no server answers")
        yield

    monkeypatch.setattr(LeadingJournal, "open", opening)
    shared = journal_at(JournalSettings(url="nats://127.0.0.1:1"), holder="me", clock=clock, new_id=str)
    if left == "opened":
        async with shared(Path("mark")):
            assert next(tries, None) is None
    else:
        with pytest.raises(NotDurable, match="no server answers"):
            async with shared(Path("mark")):
                pass
        assert next(tries, None) is not None
