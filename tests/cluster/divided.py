"""A journal that is divided into lanes, and entries of them."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cdmd.cluster.journal import JetStreamJournal
from cdmd.cluster.place import Place
from cdmd.contracts import Append
from cdmd.models import Entry, encode_entry
from tests.store.samples import HandClock, event

_NAMES = itertools.count()


@asynccontextmanager
async def writing(place: Place, folder: Path, *, writer: str | None = None) -> AsyncIterator[JetStreamJournal]:
    mark = folder / "mark"
    opened = JetStreamJournal.open(
        place, clock=HandClock(), mark_path=mark, new_id=lambda: writer or f"w{next(_NAMES)}", tail_events=0
    )
    async with opened as journal:
        yield journal


def of_part(number: int, part: int) -> Entry:
    return Entry(event(number), part=part)


def append_of(*parts: int, first: int = 1, **more: Any) -> Append:
    """Entries numbered from ``first``, of those parts."""
    entries = [of_part(number, part) for number, part in enumerate(parts, first)]
    return Append(connector="shop", entries=entries, encoded=[encode_entry(one) for one in entries], **more)
