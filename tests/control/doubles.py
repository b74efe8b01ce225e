"""A small daemon in memory behind the real control socket: real server, real client, a store and journal of plain lists."""

import asyncio
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import uvicorn
from anyio.abc import TaskStatus
from anyio.from_thread import start_blocking_portal
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from cdmd.config.schema import (
    AudienceSettings,
    Config,
    ConnectorConfig,
    ConnectorFrame,
    ControlSettings,
    IdentitySettings,
    IndicatorSettings,
)
from cdmd.console.app import with_console
from cdmd.contracts import (
    AudienceTotals,
    Audit,
    DeadLetterCause,
    DeadLetterFilter,
    History,
    Member,
    Person,
    ProfileFound,
    StoreTotals,
    Trace,
)
from cdmd.control.actors import Lookups
from cdmd.control.carrying import Carrier
from cdmd.control.client import Client
from cdmd.control.privacy_shapes import (
    ErasureRow,
    ErasuresRow,
    HoldingsRow,
    MinimisedRow,
    Restriction,
    RetentionReport,
    SimulationPage,
)
from cdmd.control.profile_shapes import IdentityJob, RegroupedRow, RehearsalReport, SideRow, SplitReport
from cdmd.control.protocol import (
    ConnectorRow,
    DiskRow,
    ExtensionRow,
    JournalRow,
    PluginInfo,
    PluginRow,
    QueueRow,
    ReloadReport,
    ReloadRow,
    Status,
    StoreRow,
    TailFilter,
    TailItem,
    Totals,
)
from cdmd.control.runtime import Place
from cdmd.control.server import control_app
from cdmd.control.watching_shapes import ConnectorSeries, HistoryReport, LastReload
from cdmd.errors import BadArguments, ClockDisturbed, Damaged, NotFound
from cdmd.identity.identifiers import Kinds
from cdmd.models import (
    Activity,
    DeadLetter,
    Entry,
    Event,
    Extended,
    Fault,
    IdentifierState,
    Journaled,
    Micros,
    Notice,
    Parked,
    ProfileKey,
    ProfileState,
    Seen,
    SeenVerdict,
    Seq,
    TraitState,
    to_micros,
)
from cdmd.profiles.audiences import Audiences
from cdmd.profiles.projection import Projection
from cdmd.testing.tables import MemoryFeeds
from tests.control.outgoing import MemoryOutbox, MemoryTargets

NOW = datetime(2026, 11, 23, 10, 0, 0, 120000, tzinfo=UTC)
AT = to_micros(NOW)
PROFILE = "01JCANONICALPROFILE"

# user ids and group ids of nobody in particular
ADMIN, READER, STRANGER, DAEMON = 4001, 4002, 4003, 4100
ADMINS_GROUP, READERS_GROUP = 5001, 5002
PEERS = {
    "admin": (1, ADMIN, 100, (ADMINS_GROUP,)),
    "reader": (1, READER, 100, (READERS_GROUP,)),
    "stranger": (1, STRANGER, 100, ()),
}


def lookups() -> Lookups:
    users = {ADMIN: "ada", READER: "rea", STRANGER: "sam", DAEMON: "cdmd", 0: "root"}
    groups = {"cdmadm": ADMINS_GROUP, "adm": READERS_GROUP}
    return Lookups(user_name=users.get, group_id=groups.get)


def event(named: str = "evt-1", **changed: Any) -> Event:
    """An event whose every personal value has "canary" in it."""
    made = Event(
        id=named,
        source="shop",
        type="order.paid",
        received=NOW,
        identifiers={"email": "canary-joe@example.com"},
        traits={"first_name": "canary-Joe"},
        data={"total": "canary-99", "canary@example.com": 1, "nested": {"deep": ["canary-deep"]}},
    )
    return msgspec.structs.replace(made, **changed)


class MemoryClock:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 1.0

    async def sleep(self, seconds: float) -> None:
        await anyio.lowlevel.checkpoint()


class MemoryJournal:
    id = "journal"

    def __init__(self) -> None:
        self.entries: list[Journaled] = []
        self.damage: list[str] = []
        self.state: dict[str, dict[bytes, bytes]] = {}
        self.unreadable = False
        self.limit = 100_000

    @property
    def head(self) -> Seq:
        return self.entries[-1].seq if self.entries else Seq(0)

    def add(self, *events: Event, seq: int | None = None) -> None:
        for each in events:
            self.entries.append(Journaled(Seq(seq or self.head + 1), Entry(each)))

    async def read(self, after: Seq, *, limit: int) -> list[Journaled]:
        if self.unreadable:
            raise Damaged("the journal is damaged at 1")
        return [row for row in self.entries if row.seq > after][: min(limit, self.limit)]

    async def scan(self, connector: str, prefix: bytes) -> AsyncGenerator[tuple[bytes, bytes], None]:
        for key, value in sorted(self.state.get(connector, {}).items()):
            if key.startswith(prefix):
                yield key, value

    async def verify(self) -> list[str]:
        return self.damage


class MemoryMembership:
    def __init__(self) -> None:
        self.people: list[tuple[ProfileKey, ProfileState]] = []
        self.moves: list[Notice] = []
        self.totals: list[AudienceTotals] = []
        self.activities: list[Activity] = []

    async def newest(self, keys: Sequence[ProfileKey]) -> dict[ProfileKey, Seq]:
        return {one.profile: one.seq for one in self.activities if one.profile in keys}

    async def history(self, heads: Sequence[Seq], *, until: Sequence[Seq] = (), each: int) -> History:
        """The newest first, ``each`` of them from each of ``heads``."""
        found: list[Activity] = []
        rest: list[Seq] = []
        for head in heads:
            (profile,) = {one.profile for one in self.activities if one.seq == head}
            line = [one for one in reversed(self.activities) if one.profile == profile and one.seq <= head]
            found += line[:each]
            rest += [one.seq for one in line[each:][:1]]
        return History(found, rest)

    async def audiences(self) -> list[AudienceTotals]:
        return self.totals

    async def profiles(self, *, after: ProfileKey, limit: int) -> list[tuple[ProfileKey, ProfileState]]:
        return [row for row in self.people if row[0] > after][:limit]

    async def members(self, audience: str, *, after: ProfileKey, limit: int) -> list[Member]:
        found = [
            Member(key=key, since=Micros(state.audiences[audience]), state=state)
            for key, state in self.people
            if key > after and audience in state.audiences
        ]
        return found[:limit]

    async def notices(self, *, audience: str | None = None, limit: int) -> list[Notice]:
        return [one for one in self.moves if audience in {None, one.audience}][:limit]


class MemoryDirectory:
    """Reads what the store of plain lists holds."""

    def __init__(self, store: "MemoryStore") -> None:
        self._store = store
        self.waiting: list[Parked] = []

    def _people(self) -> dict[ProfileKey, Person]:
        return {found.key: Person(found.key, found.state) for found in self._store.profiles.values()}

    async def named(self, public: str) -> Person | None:
        return next((person for person in self._people().values() if person.state.public == public), None)

    async def starting(self, kind: str, prefix: str, *, after: str = "", limit: int) -> list[tuple[str, Person]]:
        people = self._people()
        rows = sorted((value, found.key) for (each, value), found in self._store.profiles.items() if each == kind)
        return [(value, people[key]) for value, key in rows if value.startswith(prefix) and value > after][:limit]

    async def letters(self, *, after: Seq, limit: int) -> list[DeadLetter]:
        return [letter for seq, letter in sorted(self._store.letters.items()) if seq > after][:limit]

    async def parked(self, *, after: Seq, limit: int) -> list[Parked]:
        return [one for one in self.waiting if one.seq > after][:limit]

    async def moves(self, keys: Sequence[ProfileKey]) -> list[Notice]:
        return [one for one in self._store.membership.moves if one.profile in keys]

    async def audits(self, words: str) -> list[Audit]:
        return [row for row in self._store.rows if words in row.arguments]


class MemoryStore:
    def __init__(self) -> None:
        self.membership = MemoryMembership()
        self.outbox = MemoryOutbox()
        self.directory = MemoryDirectory(self)
        self.position = Seq(0)
        self.traces: list[tuple[str, Trace]] = []
        self.letters: dict[int, DeadLetter] = {}
        self.profiles: dict[tuple[str, str], ProfileFound] = {}
        self.rows: list[Audit] = []
        self.damage: list[str] = []
        self.audit_failure: Exception | None = None

    async def trace(self, id: str, *, source: str | None = None) -> list[Trace]:
        return [trace for key, trace in self.traces if key == id and source in {None, trace.source}]

    async def profile(self, kind: str, value: str, *, activities: int) -> ProfileFound | None:
        found = self.profiles.get((kind, value))
        return found and msgspec.structs.replace(found, activities=found.activities[:activities])

    def _fitting(self, which: DeadLetterFilter) -> list[DeadLetter]:
        fits = [
            letter
            for seq, letter in sorted(self.letters.items())
            if (which.seqs is None or seq in which.seqs)
            and which.connector in {None, letter.entry.event.connector}
            and which.code in {None, letter.fault.code}
            and fnmatchcase(letter.entry.event.type, "*" if which.type is None else which.type)
        ]
        return fits[: which.limit]

    async def dead_letters(self, which: DeadLetterFilter) -> list[DeadLetter]:
        return self._fitting(which)

    async def dead_letter_causes(self, *, limit: int) -> list[DeadLetterCause]:
        groups: dict[tuple[str, str, str], list[DeadLetter]] = {}
        for letter in self.letters.values():
            event = letter.entry.event
            groups.setdefault((event.connector, event.type, letter.fault.code), []).append(letter)
        found = [
            DeadLetterCause(*key, len(ones), min(o.since for o in ones), max(o.since for o in ones), max(o.seq for o in ones))
            for key, ones in groups.items()
        ]
        return sorted(found, key=lambda one: -one.count)[:limit]

    async def revive(self, which: DeadLetterFilter, *, now: int) -> int:
        return self._drop(which)

    async def discard(self, which: DeadLetterFilter, *, now: int) -> int:
        return self._drop(which)

    def _drop(self, which: DeadLetterFilter) -> int:
        fits = self._fitting(which)
        for letter in fits:
            del self.letters[letter.seq]
        return len(fits)

    async def totals(self) -> StoreTotals:
        return StoreTotals(
            events=1, profiles=1, activities=1, dead_letters=len(self.letters), parked=0, bytes=4096, parked_bytes=0
        )

    async def audit(self, row: Audit) -> None:
        if self.audit_failure is not None:
            raise self.audit_failure
        self.rows.append(row)

    async def audits(self, *, limit: int) -> list[Audit]:
        return self.rows[::-1][:limit]

    async def verify(self) -> list[str]:
        return self.damage


class MemoryShown:
    def shown_traits(self, state: ProfileState) -> dict[str, Any]:
        return {name: trait.value for name, trait in state.traits.items()}

    def shown_indicators(self, state: ProfileState, now: Micros) -> dict[str, Any]:
        return {"tv_hours": "canary-10001"}

    def estimated(self, state: ProfileState, now: Micros) -> list[str]:
        return []


class MemoryCounted:
    pending: frozenset[str] = frozenset({"indicator tv_hours"})
    share = 0.25
    since: Mapping[str, int] = {"warranty_offer": to_micros(NOW)}


AUDIENCES = Audiences(
    {
        "warranty_offer": AudienceSettings(where="indicators.tv_hours >= 10000.0"),
        "recent": AudienceSettings(where="now - profile.created < duration('24h')"),
    },
    Projection({"tv_hours": IndicatorSettings(on="tv.runtime", value="{data.hours}", compute="max")}),
)


def frame(name: str) -> ConnectorConfig:
    return ConnectorConfig(name=name, frame=ConnectorFrame(type="webhook"), settings=None, file="cdmd.toml")


class MemoryGovernance:
    """Who is suppressed."""

    def __init__(self) -> None:
        self.pairs: set[tuple[str, str]] = set()
        self.concealed: set[tuple[str, str]] = set()
        self.restricted: set[tuple[str, str]] = set()
        self.rows: list[ErasureRow] = []
        self.outcome: dict[str, Any] = {"state": "complete", "done": NOW, "erased": {"activities": 7}, "progress": None}
        self.others: int | None = 3

    def suppressed(self) -> int:
        return len(self.pairs)

    async def suppress(self, pair: tuple[str, str]) -> bool:
        new = pair not in self.pairs
        self.pairs.add(pair)
        return new

    async def unsuppress(self, pair: tuple[str, str]) -> bool:
        was = pair in self.pairs
        self.pairs.discard(pair)
        return was

    async def restrict(self, pair: tuple[str, str], *, restricted: bool) -> Restriction:
        if "nobody" in pair[1]:
            raise NotFound(f"nobody is known by that {pair[0]}")
        changed = (pair in self.restricted) is not restricted
        (self.restricted.add if restricted else self.restricted.discard)(pair)
        return Restriction(profile=PROFILE, restricted=restricted, changed=changed, audiences=[] if restricted else ["vip"])

    async def erase(self, pair: tuple[str, str], *, by: str) -> ErasureRow:
        row = ErasureRow(id="e1", state="in force", asked=NOW, by=by, profiles=[PROFILE], progress="erasing 1 person: journal")
        self.rows.insert(0, row)
        self.concealed |= {pair}
        return row

    async def erasures(self) -> list[ErasureRow]:
        rows, self.rows = self.rows, [msgspec.structs.replace(row, **self.outcome) for row in self.rows]
        return rows

    async def holdings(self, pair: tuple[str, str]) -> HoldingsRow:
        fields = {"identifiers": {"email": 2}, "merged": 1, "activities": 7, "others": self.others, "waiting": 1}
        return msgspec.convert({"profile": PROFILE, "copies": ["/b.tar", "/c.tar"], **fields}, HoldingsRow)

    async def simulate(self, after: tuple[int, int] | None) -> SimulationPage:
        rest = (1, 0) if after is None else None
        return SimulationPage(activities={"now": 2, "2026-12": 1}, profiles={"now": 1}, next=rest)

    async def sweep(self, *, trust_clock: bool) -> RetentionReport:
        if not trust_clock:
            raise ClockDisturbed("the wall clock leapt")
        return RetentionReport(activities=4, profiles=2)

    def minimised(self) -> list[MinimisedRow]:
        return [MinimisedRow(connector="shop", records=9, fields={"customer.phone": 7})]

    def conceals(self, entry: Entry) -> bool:
        return not self.concealed.isdisjoint(entry.event.identifiers.items())

    async def suppression_rows(self) -> AsyncGenerator[dict[str, Any], None]:
        yield {"type": "suppressions", "format": 1, "key": "k"}
        for _ in self.pairs:
            yield {"type": "suppression", "digest": "00", "since": "2026-11-23T10:00:00Z", "erased": False}


class MemoryIdentities:
    """A job that is done after being looked at twice."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Kinds | None]] = []
        self.looks = 0
        self.job = IdentityJob()
        self.fails: str | None = None

    def now(self) -> IdentityJob:
        self.looks += 1
        if self.job.state != "running" or self.looks <= 2:
            return self.job
        if self.fails:
            return msgspec.structs.replace(self.job, state="failed", progress=None, problem=self.fails)
        return msgspec.structs.replace(self.job, state="done", progress=None, report=REHEARSED, applied=5, left=1)

    async def attempt(self, kinds: Kinds | None) -> None:
        self._begin("try", kinds)

    async def rebuild(self) -> None:
        self._begin("rebuild", None)

    def _begin(self, what: str, kinds: Kinds | None) -> None:
        self.asked.append((what, kinds))
        self.looks, self.job = 0, IdentityJob(what=what, state="running", progress="reading events, 3%")


JOINED = RegroupedRow(
    profiles=["p1", "p2"], people=1, events=9, identifiers=[[{"kind": "email", "value": "canary-joe@example.com"}]]
)
REHEARSED = RehearsalReport(
    events=90,
    profiles_before=7,
    profiles_after=6,
    joined=2,
    into=1,
    split=0,
    parts=0,
    changed=2,
    remembered=3,
    largest_joins=[JOINED],
    largest_splits=[],
)


class MemoryHour:
    """Two samples of the daemon, and of whoever is asked about."""

    def report(self, names: Any = (), series: Any = ()) -> HistoryReport:
        every = {"received": [1, 7], "freshness_seconds": [None, 0.2], "backlog": [0, 0]}
        wanted = {field: values for field, values in every.items() if field in (series or every)}
        found = [ConnectorSeries(name=name, **wanted) for name in names]
        return HistoryReport(step_seconds=10, until=NOW, journaled=[1, 9], applied=[1, 8], backlog=[0, 1], connectors=found)


class MemoryRuntime:
    """What the commands need of the daemon; what happened to it can be read from its attributes."""

    carrier: Carrier | None = None
    elsewhere = Place(here=True)

    async def place(self, connector: str | None, *, target: str | None = None, shelf: str | None = None) -> Place:
        self.done.append(("place", connector))
        return self.elsewhere

    def __init__(self, folder: Path) -> None:
        self.config = Config(
            state_dir=folder,
            control_socket=folder / "control.sock",
            control=ControlSettings(),
            connectors={"shop": frame("shop")},
            effective={"http": {"listen": ["127.0.0.1:8787"]}, "connectors": {"shop": {"secrets": ["credential:shop"]}}},
        )
        self.journal, self.store, self.feeds = MemoryJournal(), MemoryStore(), MemoryFeeds()
        self.clock, self.kinds, self.shown = MemoryClock(), Kinds(IdentitySettings()), MemoryShown()
        self.audiences, self.counted = AUDIENCES, MemoryCounted()
        self.governance = MemoryGovernance()
        self.erasing = ErasuresRow()
        self.states = {"shop": "running"}
        self.asked_back: list[DeadLetterFilter] = []
        self.left: list[str] = []
        self.takes_back = 0
        self.identities = MemoryIdentities()
        self.splits: list[tuple[tuple[str, str], tuple[str, str], str]] = []
        self.done: list[tuple[Any, ...]] = []
        self.targets = MemoryTargets(self.done)
        self.items: list[TailItem] = []
        self.endless = False
        self.tail_closed = threading.Event()
        self.wanted: TailFilter | None = None
        self.trouble: Exception | None = None
        self.report = ReloadReport(connectors=[ReloadRow(name="shop", verdict="unchanged")])
        self.warnings: list[str] = []
        self.history = MemoryHour()
        self.last_reload: LastReload | None = None
        self.extra_connectors: list[ConnectorRow] = []
        self.failure: str | None = None
        self.journal_process: int | None = None

    async def status(self) -> Status:
        self._fail()
        return Status(
            version="0.1.0",
            state="running",
            uptime_seconds=12.5,
            queue=QueueRow(events=0, max_events=10_000, bytes=0, max_bytes=2**26),
            journal=JournalRow(backlog=0, bytes=4096, failure=self.failure, process=self.journal_process),
            store=StoreRow(bytes=8192, parked=0, parked_bytes=0),
            disk=DiskRow(free_bytes=2**34, reserve_bytes=2**30, days_left=80.0),
            connectors=[
                ConnectorRow(name=name, type="webhook", state=state, accepted=1, freshness_objective_seconds=5.0)
                for name, state in self.states.items()
            ]
            + self.extra_connectors,
            plugins=[PluginRow(name="warranty", version="0.1.0", state="enabled")],
            totals=Totals(events=1, profiles=1, activities=1, dead_letters=len(self.store.letters)),
            erasures=self.erasing,
            warnings=self.warnings,
        )

    def _fail(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    def _named(self, name: str) -> str:
        if name not in self.states:
            raise NotFound(f"there is no connector {name}: see `cdmctl connectors`")
        return name

    async def plugin(self, name: str) -> PluginInfo:
        if name != "warranty":
            raise NotFound(f"there is no plugin {name!r}")
        one = ExtensionRow(name="warranty", on=("tv.*",), timeout=2.0, on_failure="hold", calls=9, failures=1, seconds=0.5)
        return PluginInfo(name=name, state="enabled", extensions=(one,), example="[plugins.warranty]\n")

    async def pause(self, name: str) -> str | None:
        self.states[self._named(name)] = "paused"
        return "its sender does not try again"

    async def resume(self, name: str) -> None:
        self.states[self._named(name)] = "running"

    async def poll(self, name: str) -> None:
        if name != "crm":
            raise BadArguments(f"{self._named(name)} only listens: there is nothing to fetch")
        self.done.append(("poll", name))

    async def take_back(self, which: DeadLetterFilter) -> int:
        self.asked_back.append(which)
        taken, self.takes_back = self.takes_back, 0
        return taken

    async def gone(self) -> list[str]:
        return self.left

    async def forget(self, name: str) -> int:
        if name != "gone":
            raise NotFound(f"nothing is kept of a connector {name}")
        return 3

    async def shelf(self, kind: str, *, connector: str | None, state: str | None, limit: int) -> list[dict[str, Any]]:
        if kind == "positions":
            names = {"crm": ["contacts", "orders"], "one": ["events"]}.get(connector or "", [])
            stands = {"state": "known", "position": "2026-01-01T00:00:00Z", "asks_from": None}
            return [{"connector": connector, "name": name, **stands} for name in names]
        row = {"connector": "shop", "name": "a.csv", "state": "done", "since": NOW, "record": 3, "records": 3, "bytes": 9}
        return [{**row, "limit": limit}] if (kind, connector or "shop", state or "done") == ("files", "shop", "done") else []

    async def tell_shelf(self, kind: str, command: str, *, connector: str | None, names: Any) -> tuple[str, int]:
        self.done.append((kind, command, connector, *names))
        return "shop", len(names)

    async def split(self, first: tuple[str, str], second: tuple[str, str], *, apply: bool) -> SplitReport:
        self.splits.append((first, second, "split" if apply else "try"))
        identifiers = [{"kind": kind, "value": value} for kind, value in (first, second)]
        found = {"traits": {"name": "canary-Joe"}, "indicators": {"orders": 2}, "audiences": ["gold"]}
        sides = [
            SideRow(profile=PROFILE, identifiers=identifiers[:1], events=3, **found),
            SideRow(profile=None, identifiers=identifiers[1:], events=1, **found),
        ]
        return SplitReport(summary="it was split" if apply else "it would be", applied=apply, sides=sides, contested=2)

    async def lift(self, first: tuple[str, str], second: tuple[str, str]) -> SplitReport:
        self.splits.append((first, second, "lift"))
        return SplitReport(summary="it was lifted", applied=True)

    async def reload(self) -> ReloadReport:
        self._fail()
        return self.report

    async def tail(self, wanted: TailFilter) -> AsyncGenerator[TailItem, None]:
        self.wanted = wanted
        try:
            for item in self.items:
                yield item
            if self.endless:
                await anyio.Event().wait()
        finally:
            self.tail_closed.set()

    def set_log_level(self, level: str, seconds: float | None) -> None:
        self.done.append(("log-level", level, seconds))

    async def metrics(self) -> bytes:
        return b"# TYPE cdmd_profiles gauge\ncdmd_profiles 1.0\n"

    async def backup(self, target: Path) -> int:
        self.done.append(("backup", str(target)))
        return 12_288


# ---- what is in it -------------------------------------------------------------------------------------------------


def seen(verdict: SeenVerdict, seq: int = 1) -> Seen:
    return Seen(Seq(seq), verdict, 7)


def applied(runtime: MemoryRuntime, *, named: str = "evt-1", seq: int = 1) -> None:
    """An applied event with one extension, its profile, and its journal entry."""
    happened = event(named)
    activity = Activity(
        seq=Seq(seq),
        profile=ProfileKey(1),
        time=AT,
        event=happened,
        rule="email",
        trace=[Extended("warranty", 0.02, "applied", ["warranty"])],
    )
    runtime.journal.add(happened, seq=seq)
    runtime.store.position = Seq(seq)
    runtime.store.traces.append(
        (named, Trace(source="shop", seen=seen(SeenVerdict.APPLIED, seq), activity=activity, public=PROFILE))
    )
    state = ProfileState(
        public=PROFILE,
        created=AT,
        updated=AT,
        identifiers=[IdentifierState("email", "canary-joe@example.com", AT, AT, "shop")],
        traits={"first_name": TraitState("canary-Joe", AT, seq, "shop")},
    )
    runtime.store.profiles["email", "canary-joe@example.com"] = ProfileFound(
        key=ProfileKey(1), state=state, activities=[activity], merges=[]
    )


def dead(
    runtime: MemoryRuntime, seq: int, *, code: str = "mapping", raw: bytes = b'{"name":"canary-raw"}', **of: Any
) -> DeadLetter:
    fault = Fault(code, "the part {to_number(total)} failed on text", "{to_number(total)}", "total", "text")
    entry = Entry(event(f"dead-{seq}", **of), fault, raw)
    letter = DeadLetter(seq=Seq(seq), entry=entry, fault=fault, stage="map", since=AT)
    runtime.store.letters[seq] = letter
    runtime.store.traces.append(
        (f"dead-{seq}", Trace(source=entry.event.source, seen=seen(SeenVerdict.DEAD, seq), dead=letter))
    )


def parked(runtime: MemoryRuntime, seq: int) -> None:
    row = Parked(
        seq=Seq(seq),
        entry=Entry(event(f"parked-{seq}")),
        extension="warranty",
        attempts=2,
        due=AT,
        since=AT,
        reason="it timed out",
    )
    runtime.store.traces.append((f"parked-{seq}", Trace(source="shop", seen=seen(SeenVerdict.PARKED, seq), parked=row)))


# ---- the socket ----------------------------------------------------------------------------------------------------


class Daemon:
    """The runtime behind its socket. ``peer`` is what the kernel is said to tell of whoever connects next."""

    def __init__(self, runtime: MemoryRuntime, path: Path) -> None:
        self.runtime, self.path = runtime, path
        self.peer: tuple[Any, ...] | None = PEERS["admin"]

    def client(self, role: str = "admin", *, timeout: float = 5.0) -> Client:
        self.peer = PEERS.get(role)
        return Client([str(self.path)], timeout=timeout)

    def audits(self) -> list[tuple[str, str, str]]:
        return [(row.user, row.command, row.outcome) for row in self.runtime.store.rows]


@contextmanager
def serving(daemon: Daemon, *, heartbeat: float = 15.0) -> Iterator[Daemon]:
    """The control socket, mode 0660, answered by a thread of its own."""
    commands = control_app(daemon.runtime, own_uid=DAEMON, lookups=lookups(), heartbeat=heartbeat)
    app = with_console(commands, secret=b"s" * 32, clock=daemon.runtime.clock)

    class PeerProtocol(HttpToolsProtocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            inner, peer = self.app, daemon.peer

            async def told(scope: Any, receive: Any, send: Any) -> None:
                if peer is not None:
                    scope.setdefault("extensions", {})["cdmd.peer"] = peer
                await inner(scope, receive, send)

            self.app = told

    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(daemon.path))
    daemon.path.chmod(0o660)
    config = uvicorn.Config(app, http=PeerProtocol, lifespan="off", log_config=None, access_log=False)
    with start_blocking_portal() as portal:
        running, _ = portal.start_task(_answer, bound, config, PeerProtocol)
        try:
            yield daemon
        finally:
            running.cancel()


async def _answer(
    bound: socket.socket, config: uvicorn.Config, protocol: type[HttpToolsProtocol], *, task_status: TaskStatus[None]
) -> None:
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(lambda: protocol(config, state, {}), sock=bound)
    task_status.started()
    try:
        await anyio.sleep_forever()
    finally:
        server.close()
        for task in list(state.tasks):
            task.cancel()
        for connection in list(state.connections):
            connection.transport.abort()


@contextmanager
def answering(path: Path, answer: Callable[[socket.socket], None]) -> Iterator[None]:
    """A socket that is no cdmd: ``answer`` is given the first connection."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        thread.join(60)


def raw_get(
    path: Path, target: str, *, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] = {}
) -> tuple[int, Mapping[str, str], bytes]:
    """One request as it would be made by curl: status, headers, body."""
    import http.client

    connection = http.client.HTTPConnection("d", timeout=5)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(5)
    connection.sock.connect(str(path))
    with closing(connection), closing(connection.sock):
        connection.request(method, target, body=body, headers=dict(headers))
        with closing(connection.getresponse()) as response:
            return response.status, {key.lower(): value for key, value in response.getheaders()}, response.read()


def lines(items: Sequence[Event]) -> list[TailItem]:
    return [TailItem(stage="stored", time=NOW, event=each) for each in items]


def people(daemon: Daemon, count: int) -> None:
    """Every other one is in an audience, the last one is merged into the first."""
    membership = daemon.runtime.store.membership
    since = to_micros(NOW)
    membership.moves = [
        Notice(
            id="n1",
            audience="recent",
            profile=ProfileKey(1),
            public="p1",
            entered=False,
            at=since,
            reason="time passed",
        )
    ]
    for number in range(1, count + 1):
        kept = [IdentifierState("email", f"canary{number}@example.com", since, since, "shop")]
        kept.append(IdentifierState("email_sha256", f"{number:064}", since, since, "shop", derived=True))
        inside = {"warranty_offer": since} if number % 2 else {}
        gone = 1 if number == count else None
        membership.people.append(
            (ProfileKey(number), ProfileState(f"p{number}", since, since, kept, audiences=inside, merged_into=gone))
        )
