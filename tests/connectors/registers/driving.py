"""A register's connector without files: texts in, events out, everything in memory but the mapping, which is the daemon's."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, BinaryIO

from cdmd.config.schema import ConnectorFrame, EventSettings
from cdmd.connectors.formats.csvs import Csv, CsvSettings
from cdmd.connectors.registers import File, Outcome, Register, RegisterSettings, Removals
from cdmd.contracts import ChosenFormat
from cdmd.models import Accepted, Event, Filtered, Record, Verdict
from cdmd.testing import ManualClock, RecordingSource

MAPPING = EventSettings(type="customer.{change}", identifiers={"customer_no": "{no}", "email": "{email}"}, traits="*")


class Supplier:
    """One connector over time. ``known`` (emails) are those it keeps, if given; ``fail_at`` stops the n-th emit."""

    def __init__(
        self,
        *,
        key: Sequence[str] = ("no",),
        ignore: Sequence[str] = (),
        max_removed: str = "5%",
        missing_for: int = 1,
        min_rows: int = 0,
        known: set[str] | None = None,
        chosen: ChosenFormat | None = None,
        mapping: EventSettings | None = MAPPING,
    ) -> None:
        self.source = RecordingSource("supplier", frame=ConnectorFrame(type="test", event=mapping), clock=ManualClock())
        removals = Removals.parse(max_removed, missing_for=missing_for)
        self.settings = RegisterSettings(key=key, ignore=ignore, removals=removals, min_rows=min_rows)
        self.chosen = chosen or ChosenFormat(Csv, CsvSettings())
        self.known = known
        self.fail_at: int | None = None
        self.opened = 0

    @property
    def register(self) -> Register:
        """As after a restart: nothing but the state is remembered."""
        return Register(self.settings, source=self.source, emit=self.emit)

    async def emit(self, records: Sequence[Record], state: Mapping[bytes, bytes | None]) -> Sequence[Verdict]:
        if self.fail_at is not None:
            self.fail_at -= 1
            if self.fail_at < 0:
                raise InterruptedError("killed")
        if self.known is None:
            return await self.source.emit(records, state=state)
        strangers = [one for one in records if isinstance(one.value, dict) and one.value.get("email") not in self.known]
        kept = [one for one in records if one not in strangers]
        verdicts = iter(await self.source.emit(kept, state=state))
        return [Filtered("unknown") if one in strangers else next(verdicts) for one in records]

    async def apply(self, text: bytes, *, name: str = "register.csv") -> Outcome:
        def opened(stack: ExitStack) -> BinaryIO:
            self.opened += 1
            return stack.enter_context(io.BytesIO(text))

        file = File(name=name, path=name, digest=hashlib.sha256(text).digest(), opened=opened)
        return await self.register.apply(self.chosen, file)

    def taken(self) -> list[Event]:
        """The events since the last call."""
        events, self.source.events = self.source.events, []
        return events

    def said(self) -> list[tuple[str, str]]:
        """Their types and customer numbers, since the last call."""
        return [(event.type.removeprefix("customer."), event.identifiers["customer_no"]) for event in self.taken()]


def register(rows: Mapping[int, str] | int, **columns: Any) -> bytes:
    """A register: numbers and e-mail addresses, or so many rows."""
    if isinstance(rows, int):
        rows = {number: f"user{number}@example.com" for number in range(1, rows + 1)}
    return b"no,email\n" + b"".join(b"%d,%s\n" % (number, email.encode()) for number, email in rows.items())


def less(count: int, of: int) -> bytes:
    """A register of ``of`` rows without ``count`` of them, none of which is its last."""
    return register({number: email for number, email in rows_of(of).items() if number > count})


def rows_of(count: int) -> dict[int, str]:
    return {number: f"user{number}@example.com" for number in range(1, count + 1)}


def ok(verdict: Verdict) -> bool:
    return isinstance(verdict, Accepted)
