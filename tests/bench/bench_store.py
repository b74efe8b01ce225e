"""What the journal and the store cost, as ratios to the least that could be done in the same run.

Run: ``python tests/bench/bench_store.py [PROFILES]``. Not collected by pytest.
"""

import os
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import anyio

from cdmd.contracts import Append
from cdmd.kit.clock import SystemClock
from cdmd.models import (
    Activity,
    Changes,
    Digest,
    Entry,
    IdentifierState,
    Known,
    Micros,
    ProfileKey,
    ProfileState,
    Seen,
    Seq,
    TraitState,
    Wanted,
    encode_entry,
    to_micros,
)
from cdmd.store.journal import SqliteJournal
from cdmd.store.keys import Digester
from cdmd.store.store import SqliteStore
from tests.store.samples import event

ROWS = 60_000


async def append(home: Path, batch: int) -> tuple[float, float]:
    """Rows per second and CPU µs per row of 600 B entries in commits of ``batch``."""
    entry = Entry(event(1).enriched(more="y" * 350))
    encoded = encode_entry(entry)
    counted = Append(connector="shop", entries=[entry] * batch, encoded=[encoded] * batch, counts={"accepted": batch})
    path = home / f"journal{batch}.db"
    async with SqliteJournal.open(path, clock=SystemClock(), mark_path=home / f"mark{batch}", new_id=lambda: "x") as journal:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(ROWS // batch):
            await journal.append([counted])
        return ROWS / (time.perf_counter() - wall), (time.process_time() - cpu) / ROWS * 1e6


def plain_file(home: Path, batch: int) -> float:
    """Rows per second of the same bytes appended to a file, one fdatasync per ``batch``."""
    body = os.urandom(600)
    with (home / "plain").open("wb") as file:
        wall = time.perf_counter()
        for _ in range(ROWS // batch):
            file.write(b"".join([body] * batch))
            file.flush()
            os.fdatasync(file.fileno())
        return ROWS / (time.perf_counter() - wall)


class Load:
    """Events over ``profiles`` known people, a few of them new; ``decide`` does next to nothing."""

    def __init__(self, profiles: int) -> None:
        self.profiles, self.seq, self.random = profiles, 0, random.Random(7)
        self.digester = Digester(b"k" * 32)
        self.deciding = 0.0

    def filling(self, first: int, count: int) -> tuple[Wanted, Callable[[Known], Changes]]:
        profiles = {ProfileKey(n): self.state(n) for n in range(first, first + count)}
        owners = {(one.kind, one.value): key for key, state in profiles.items() for one in state.identifiers}
        return Wanted([], []), lambda _: Changes(profiles=profiles, owners=owners)

    def state(self, n: int) -> ProfileState:
        kept = [
            IdentifierState("email", f"u{n * 7919 % self.profiles}@x.se", 1, 1, "shop"),
            IdentifierState("no", f"{n}", 1, 1, "shop"),
        ]
        traits = {name: TraitState("value", 1, 1) for name in ("first", "last", "city")}
        return ProfileState(f"01J{n:010}", 1, 1, kept, traits)

    def batch(self, size: int) -> tuple[Wanted, Callable[[Known], Changes]]:
        now = to_micros(SystemClock().now())
        people = [self.random.randrange(1, self.profiles) for _ in range(size)]
        events = [event(self.seq + n).enriched(more="y" * 350) for n in range(size)]
        digests = [self.digester.occurrence(one.source, one.id) for one in events]
        wanted = Wanted(digests, [(kind, value) for n in people for kind, value in (("email", f"u{n}@x.se"), ("no", f"{n}"))])
        start, self.seq = self.seq + 1, self.seq + size

        def decide(known: Known) -> Changes:
            cpu = time.thread_time()
            profiles, activities = {}, []
            for n, one in enumerate(events):
                key = known.owners["no", str(people[n])]
                profiles[key] = known.profiles[key]
                profiles[key].updated = now
                activities.append(Activity(seq=Seq(start + n), profile=key, time=Micros(now), event=one, rule="matched no"))
            seen = {Digest(digest): Seen(Seq(start + n), 1, n) for n, digest in enumerate(digests)}
            changes = Changes(position=Seq(start + size - 1), seen=seen, profiles=profiles, activities=activities)
            changes.counts = {("shop", "applied"): size}
            self.deciding += time.thread_time() - cpu
            return changes

        return wanted, decide


async def apply(home: Path, profiles: int, batch: int) -> float:
    """CPU µs per event of ``apply`` without ``decide``, on a store that holds ``profiles``."""
    load = Load(profiles)
    digest = load.digester.occurrence
    async with SqliteStore.open(home / f"s{batch}.db", clock=SystemClock(), journal_id="x", digest=digest) as store:
        for first in range(1, profiles + 1, 10_000):
            await store.apply(*load.filling(first, min(10_000, profiles + 1 - first)))
        await store.sync()
        spent, events, longest = 0.0, 20_000, 0.0
        for _ in range(events // batch):
            job = load.batch(batch)
            load.deciding = 0.0
            cpu, wall = time.process_time(), time.perf_counter()
            await store.apply(*job)
            spent += time.process_time() - cpu - load.deciding
            longest = max(longest, time.perf_counter() - wall)
        print(f"  apply b={batch}: {spent / events * 1e6:.1f} µs CPU per event without decide, longest {longest * 1e3:.0f} ms")
        return spent / events * 1e6


async def main() -> None:
    profiles = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    print(f"SQLite {sqlite3.sqlite_version}, {profiles} profiles")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        home = Path(folder)
        for batch in (100, 1_000):
            rate, cpu = await append(home, batch)
            limit = plain_file(home, batch)
            print(
                f"  append b={batch}: {rate:,.0f} rows/s, {cpu:.1f} µs CPU per row, {rate / limit:.2f} of a synced plain file"
            )
        for batch in (100, 1_000):
            await apply(home, profiles, batch)


if __name__ == "__main__":
    anyio.run(main)
