"""State directories that hold many profiles, each with two identifiers, traits, three indicators, an activity and its digest.

Built through the real decision and the real ``Store.apply``; the sequence numbers are negative, as if an earlier journal had
brought them. Kept in a folder for the next run and copied for every use.
"""

import random
import secrets
import shutil
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import anyio
import msgspec

from cdmd.batches.deciding import Decision
from cdmd.batches.preparing import prepare
from cdmd.batches.rules import Rules
from cdmd.config.schema import AudienceSettings, IdentitySettings, IndicatorSettings
from cdmd.contracts import Append
from cdmd.daemon.counting import Noted
from cdmd.identity.identifiers import Kinds
from cdmd.kit.clock import SystemClock
from cdmd.models import Apply, Entry, Event, Item, Seq, to_micros
from cdmd.profiles.audiences import Audiences
from cdmd.profiles.projection import Projection
from cdmd.store.files import StateDirectory
from cdmd.store.opening import Opened, open_state
from tests.bench.load import HAPPENED

_BATCH = 20_000
MONTHS = ZoneInfo("Europe/Stockholm")
INDICATORS = {
    "orders": IndicatorSettings(on=("order.*",)),
    "spent": IndicatorSettings(on=("order.paid",), value="{data.total}", compute="sum"),
    "largest": IndicatorSettings(on=("order.*",), value="{data.total}", compute="max"),
}


RICH = INDICATORS | {
    "orders_30d": IndicatorSettings(on=("order.*",), window="30d"),
    "spent_month": IndicatorSettings(on=("order.paid",), value="{data.total}", compute="sum", window=f"month {MONTHS.key}"),
}
AUDIENCES = {
    "frequent": AudienceSettings(where="indicators.orders_30d >= 2"),
    "good": AudienceSettings(where="indicators.spent_month >= 1000.0 && profile.traits.city == 'Lund'"),
    "large": AudienceSettings(where="indicators.largest > 500.0"),
}


def event(number: int, customer: int, run: str, *, rich: bool = False) -> Event:
    """What the connector of ``setup`` makes of ``load.body``."""
    more = {"user_id": f"uC{customer}"} if rich else {}
    return Event(
        id=f"{run}-{number:09}:paid",
        source="shop",
        type="order.paid",
        time=HAPPENED,
        received=datetime.now(UTC),
        identifiers={"email": f"joe{customer}@example.com", "customer_no": f"C{customer}", **more},
        traits={"first_name": "Joe", "city": "Lund"},
        data={"total": 100 + number % 900 + 0.5, "currency": "SEK"},
    )


def rules(opened: Opened, *, rich: bool = False) -> Rules:
    """The pipeline's rules with the benches' indicators; ``rich`` with windows and audiences."""
    return Rules(
        journal_id=opened.journal.id,
        kinds=Kinds(IdentitySettings()),
        audiences=Audiences(AUDIENCES, Projection(RICH)) if rich else Audiences({}, Projection(INDICATORS)),
        digester=opened.digester,
    )


def decision(opened: Opened, made: Rules, events: list[tuple[Seq, Event]], *, position: Seq | None) -> Decision:
    """The decision about these events."""
    items = [(Item(seq=seq, entry=Entry(one), outcome=Apply()), one) for seq, one in events]
    return Decision(prepare(made, items), position=position, parked=0, now=to_micros(datetime.now(UTC)))


def open_in(folder: Path):
    """The state below ``folder``, opened as the daemon opens it."""
    return open_state(StateDirectory(folder), clock=SystemClock(), new_id=lambda: uuid.uuid4().hex, random=secrets.token_bytes)


async def _fill(folder: Path, profiles: int, rich: bool) -> None:
    with StateDirectory(folder).held():
        async with open_in(folder) as opened:
            made, there = rules(opened, rich=rich), (await opened.store.totals()).profiles  # of a run that was cut off
            customers = list(range(profiles))
            random.Random(1).shuffle(customers)
            for batch in _batches(customers, there):
                events = [(Seq(n - profiles), event(n, one, "old", rich=rich)) for n, one in batch]
                decided = decision(opened, made, events, position=None)
                await opened.store.apply(decided.wanted, decided)
            counts = {"received": profiles, "accepted": profiles}
            await opened.journal.append([Append(connector="shop", counts=counts)])
            await counted(opened, made.audiences)
            await opened.store.sync()


async def counted(opened: Opened, audiences: Audiences) -> None:
    """As if all of it had been configured from the beginning: a daemon has nothing of the past to count."""
    noted = Noted(indicators=audiences.projection.definitions, audiences=audiences.definitions)
    await opened.store.note("counted", msgspec.json.encode(noted).decode())


def _batches(customers: list[int], there: int) -> Iterator[list[tuple[int, int]]]:
    for start in range(there, len(customers), _BATCH):
        yield list(enumerate(customers[start : start + _BATCH], start))


def filled(kept: Path, profiles: int, *, rich: bool = False) -> Path:
    """A state directory with so many profiles below ``kept``, built now where there is none; says how long that took."""
    month = f"-rich-{HAPPENED.astimezone(MONTHS):%Y-%m}" if rich else ""  # in the next one it is out of a window
    folder = kept / f"profiles-{profiles}{month}-counted"
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        began = time.perf_counter()
        anyio.run(_fill, folder / "state", profiles, rich)
        (folder / "complete").touch()
        size = sum(file.stat().st_size for file in (folder / "state").glob("*.db*")) >> 20
        print(f"  [{profiles:,} profiles made in {time.perf_counter() - began:.1f} s, {size:,} MiB]", flush=True)
    return folder / "state"


def copied(kept: Path, profiles: int, target: Path, *, rich: bool = False) -> Path:
    """A copy of that directory at ``target``."""
    shutil.copytree(filled(kept, profiles, rich=rich), target)
    return target
