"""State directories that know a register already, as if the daemon had applied it: its table only, and no profile of anybody.

The table, its digests and its state are made by the real ``Register`` on the real databases; what a first load of the people in
it takes is measured elsewhere.
"""

import hashlib
import secrets
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import anyio

from cdmd.connectors.formats.csvs import Csv, CsvSettings
from cdmd.connectors.registers import File, Outcome, Register, RegisterSettings, Removals
from cdmd.contracts import Append, ChosenFormat
from cdmd.intake.tables import SourceTable
from cdmd.kit.clock import SystemClock
from cdmd.models import Accepted, Record, Verdict
from cdmd.store.files import StateDirectory
from cdmd.store.opening import Opened, open_state

NAME = "sup"


class Laying:
    """As much of a source as a register needs; its records go nowhere."""

    name, clock = NAME, SystemClock()

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    async def get(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The connector's state."""
        return await self._opened.journal.get(NAME, keys)

    def table(self, name: str) -> SourceTable:
        """The connector's table."""
        return SourceTable(NAME, name, state=self.get, feeds=self._opened.feeds)

    def secret(self, purpose: str) -> bytes:
        """The connector's key."""
        return self._opened.digester.secret(NAME, purpose)

    async def emit(self, records: Sequence[Record], state: Mapping[bytes, bytes | None]) -> Sequence[Verdict]:
        """Keeps the state, and takes every record."""
        if state:
            await self._opened.journal.append([Append(connector=NAME, entries=(), state=dict(state))])
        return [Accepted("")] * len(records)


def knowing(state_dir: Path, file: Path, *, key: str) -> Outcome:
    """Make ``state_dir`` one whose connector ``sup`` has applied ``file``, a csv whose rows are known by ``key``."""
    return anyio.run(_know, state_dir, file, key)


async def _know(state_dir: Path, file: Path, key: str) -> Outcome:
    directory = StateDirectory(state_dir)
    settings = RegisterSettings(key=(key,), ignore=(), removals=Removals.parse("5%"))

    def opened(stack: ExitStack) -> BinaryIO:
        return stack.enter_context(file.open("rb"))

    with directory.held():
        async with open_state(
            directory, clock=SystemClock(), new_id=lambda: uuid.uuid4().hex, random=secrets.token_bytes
        ) as found:
            source: Any = Laying(found)
            register = Register(settings, source=source, emit=source.emit)
            digest = await anyio.to_thread.run_sync(_digest, file)
            given = File(name=file.name, path=file.name, digest=digest, opened=opened)
            return await register.apply(ChosenFormat(Csv, CsvSettings()), given)


def _digest(file: Path) -> bytes:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()
