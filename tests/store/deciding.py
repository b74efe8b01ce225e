"""Decisions about small batches, and what the tables hold after them: for tests of how the store applies them."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from cdmd.batches.deciding import Decision
from cdmd.batches.preparing import prepare
from cdmd.batches.rules import Rules
from cdmd.config.schema import AudienceSettings, IdentitySettings, IndicatorSettings
from cdmd.identity.identifiers import Kinds
from cdmd.models import Apply, Entry, Event, Hold, Item, Micros, Seq, to_micros
from cdmd.profiles.audiences import Audiences
from cdmd.profiles.projection import Projection
from cdmd.store.keys import Digester
from cdmd.store.store import SqliteStore
from cdmd.testing import ManualClock

DIGESTER = Digester(bytes(32))
RULES = Rules(
    journal_id="journal",
    kinds=Kinds(IdentitySettings()),
    audiences=Audiences(
        {"many": AudienceSettings(where="indicators.orders >= 2")},
        Projection({"orders": IndicatorSettings(on=("order",)), "lately": IndicatorSettings(on=("order",), window="30d")}),
    ),
    digester=DIGESTER,
)


@asynccontextmanager
async def store_in(folder: Path) -> AsyncIterator[SqliteStore]:
    async with SqliteStore.open(
        folder / "store.db", clock=ManualClock(), journal_id="journal", digest=DIGESTER.occurrence
    ) as store:
        yield store


def order(id: str, **identifiers: str) -> Event:
    now = ManualClock().now()
    return Event(id=id, source="shop", type="order", received=now, identifiers=identifiers, traits={"said": id})


def decision(first: int, *events: Event, parked: tuple[str, ...] = (), rules: Rules = RULES) -> Decision:
    now = to_micros(ManualClock().now())
    work = [
        (Item(seq=Seq(seq), entry=Entry(one), outcome=Hold("x", now, 1, "r") if one.id in parked else Apply()), one)
        for seq, one in enumerate(events, first)
    ]
    return Decision(prepare(rules, work), position=Seq(first + len(events) - 1), parked=0, now=Micros(now))


def resumed(seq: int, event: Event) -> Decision:
    item = Item(seq=Seq(seq), entry=Entry(event), outcome=Apply(), resumed=True, parked_since=Micros(1))
    return Decision(prepare(RULES, [(item, event)]), position=None, parked=1, now=Micros(2))


def tables(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    connection = sqlite3.connect(folder / "store.db")
    try:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return {name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in names}
    finally:
        connection.close()


async def side_by_side(store: SqliteStore, decisions: list[Decision]) -> None:
    async with anyio.create_task_group() as tasks:
        for one in decisions:
            tasks.start_soon(store.apply, one.wanted, one)
