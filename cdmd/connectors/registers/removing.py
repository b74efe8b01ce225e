"""Rows that are removed, as events: the last of them go with the state that says so."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cdmd.connectors.registers.rows import values_of
from cdmd.connectors.registers.shapes import BATCH, Emit, event_id
from cdmd.models import Record


class Removing:
    """Removals in batches. ``key`` names the key columns, ``run`` what was compared with, ``name`` the connector."""

    def __init__(self, emit: Emit, *, name: str, run: bytes, key: Sequence[str], context: Mapping[str, Any]) -> None:
        self._emit, self._name, self._run, self._key, self._context = emit, name, run, key, context
        self._waiting: list[Record] = []
        self.count = 0

    async def add(self, texts: Sequence[bytes], *, now: datetime) -> None:
        """Rows that are removed, by their packed key columns."""
        self.count += len(texts)
        self._waiting += [self._record(text, now) for text in texts]
        while len(self._waiting) > BATCH:
            await self._emit(self._waiting[:BATCH], {})
            del self._waiting[:BATCH]

    async def finish(self, state: Mapping[bytes, bytes | None]) -> None:
        """The last of them, with the state."""
        await self._emit(self._waiting, state)

    def _record(self, text: bytes, now: datetime) -> Record:
        return Record(
            value=dict(zip(self._key, values_of(text), strict=True)),
            received=now,
            fallback_id=event_id(self._run, text, "removed", b""),
            context=self._context,
            type=f"{self._name}.removed",
            beside={"change": "removed", "changed": []},
        )
