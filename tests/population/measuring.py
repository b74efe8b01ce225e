"""A population's events through the daemon's own decisions into its own store, and the pairs of identifiers that came together.

Counted are identifiers that are one person's own (not a family's address, a shared tablet, a number that was somebody else's
before, an address that nobody has). Of all pairs of them in one profile: how many are one person's (precision). Of all pairs of
one person's that arrived: how many are in one profile (recall).
"""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from math import comb
from pathlib import Path
from typing import NamedTuple

import msgspec

from cdmd.batches.deciding import Decision
from cdmd.batches.preparing import prepare
from cdmd.batches.rules import Rules
from cdmd.config.schema import IdentifierSettings, IdentitySettings, default_identifiers
from cdmd.identity.identifiers import Kinds
from cdmd.models import Apply, Count, Entry, Event, Item, ProfileKey, Seq, to_micros
from cdmd.profiles.audiences import Audiences
from cdmd.profiles.projection import Projection
from cdmd.store.keys import Digester
from cdmd.store.store import SqliteStore
from tests.population.people import DAYS, HARD, START, Hardness, events_of, population
from tests.store.samples import HandClock

BATCH = 20_000
DIGESTER = Digester(b"k" * 32)


class Quality(NamedTuple):
    """``profiles`` came of ``people``; ``kept_apart`` events had an identifier given up, ``unusable`` ones had one refused."""

    people: int
    events: int
    profiles: int
    precision: float
    recall: float
    kept_apart: int
    unusable: int


def region(kinds: dict[str, IdentifierSettings] | None = None) -> Kinds:
    """The default kinds, with the region that the population's numbers are from."""
    settings = kinds or default_identifiers()
    phone = msgspec.structs.replace(settings["phone"], region="SE")
    return Kinds(IdentitySettings(identifiers={**settings, "phone": phone}))


def in_order(count: int, folder: Path, *, seed: int, hardness: Hardness = HARD) -> Iterator[Event]:
    """The events of all of them as they happened; a part of the time is in memory at once, the others wait in ``folder``."""
    span = max(1, DAYS * 50_000 // max(50_000, count * 4))
    files = [(folder / f"days-{first}").open("w+b") for first in range(0, DAYS, span)]
    for person in population(count, seed=seed, hardness=hardness):
        for day, event in events_of(person, seed=seed, hardness=hardness):
            files[day // span].write(msgspec.json.encode(event) + b"\n")
    for file in files:
        file.seek(0)
        events = [msgspec.json.decode(line, type=Event) for line in file]
        file.close()
        yield from sorted(events, key=lambda one: (one.time, one.id))


async def measured(
    path: Path,
    events: Iterator[Event],
    *,
    people: int,
    kinds: Kinds,
    owner: Callable[[str, str], int | None],
    said: Callable[[int], None] = lambda count: None,
) -> Quality:
    """Apply the events in their order and compare."""
    clock = HandClock()
    clock.moment = START + timedelta(days=DAYS + 2)
    rules = Rules(journal_id="one", kinds=kinds, audiences=Audiences({}, Projection({})), digester=DIGESTER)
    count, batch = 0, list[Event]()
    async with SqliteStore.open(path, clock=clock, journal_id="one", digest=DIGESTER.occurrence) as store:
        for event in events:
            batch.append(event)
            if len(batch) == BATCH:
                await _apply(store, rules, batch, first=count + 1, clock=clock)
                count, batch = count + len(batch), []
                said(count)
        await _apply(store, rules, batch, first=count + 1, clock=clock)
        counts, totals = await store.counts(), await store.totals()
        precision, recall = await _pairs(store, owner)
    kept, unusable = (sum(n for (_, name), n in counts.items() if name == one) for one in (Count.KEPT_APART, Count.UNUSABLE))
    return Quality(people, totals.events, totals.profiles, precision, recall, kept, unusable)


def attainable(count: int, *, seed: int, owner: Callable[[str, str], int | None], hardness: Hardness = HARD) -> float:
    """The recall where exactly those identifiers of a person are joined that events tie together, shared ones aside."""
    kinds, tied, arrived = region(), 0, 0
    for person in population(count, seed=seed, hardness=hardness):
        groups: list[set[tuple[str, str]]] = []
        for _, event in events_of(person, seed=seed, hardness=hardness):
            mine = {pair for pair in kinds.usable(event.identifiers) if owner(*pair) == person.number}
            met = [group for group in groups if not group.isdisjoint(mine)]
            groups = [group for group in groups if group not in met] + [mine.union(*met)]
        tied += sum(comb(len(group), 2) for group in groups)
        arrived += comb(sum(len(group) for group in groups), 2)
    return tied / max(1, arrived)


async def _apply(store: SqliteStore, rules: Rules, batch: list[Event], *, first: int, clock: HandClock) -> None:
    items = [(Item(seq=Seq(seq), entry=Entry(event), outcome=Apply()), event) for seq, event in enumerate(batch, first)]
    if items:
        decision = Decision(prepare(rules, items), position=items[-1][0].seq, parked=0, now=to_micros(clock.now()))
        await store.apply(decision.wanted, decision)


async def _pairs(store: SqliteStore, owner: Callable[[str, str], int | None]) -> tuple[float, float]:
    """Precision and recall over pairs of identifiers."""
    right = together = 0
    arrived: Counter[int] = Counter()
    after = ProfileKey(0)
    while rows := await store.membership.profiles(after=after, limit=1_000):
        after = rows[-1][0]
        for _, state in rows:
            owners = [owner(one.kind, one.value) for one in state.identifiers]
            mine = Counter(one for one in owners if one is not None)
            arrived.update(mine)
            together += comb(mine.total(), 2)
            right += sum(comb(number, 2) for number in mine.values())
    return right / max(1, together), right / max(1, sum(comb(number, 2) for number in arrived.values()))
