"""Emitting by a connector that can wait: its records stay at the other side for as long as the disk does not take them."""

from collections.abc import Mapping, Sequence

from cdmd.contracts import Source
from cdmd.errors import Closed, Overloaded
from cdmd.models import Record, Verdict


async def durable(source: Source, records: Sequence[Record], state: Mapping[bytes, bytes | None]) -> list[Verdict]:
    """``emit`` until it is taken, and say meanwhile what is waited for. Raises Closed."""
    while True:
        try:
            return await source.emit(records, state=state)
        except Closed:
            raise
        except Overloaded as error:
            source.working(f"waits until the journal takes more: {error}")
            await source.clock.sleep(error.retry_after)
