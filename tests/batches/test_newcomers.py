"""What comes of newcomers is written as the ordinary way would, whoever and whatever comes between them."""

import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cdmd.batches.crossing import DecisionCrossing, Decisions
from cdmd.batches.deciding import Decision
from cdmd.batches.newcomers import Making, Newcomers, may_be
from cdmd.batches.preparing import Prepared, prepare
from cdmd.batches.rules import Rules
from cdmd.config.outbound import TargetConfig, TargetFrame
from cdmd.config.schema import AudienceSettings, IdentifierSettings, IdentitySettings, IndicatorSettings
from cdmd.deliveries.subscribing import Subscriptions
from cdmd.identity.identifiers import Kinds
from cdmd.identity.resolution import People
from cdmd.kit.spans import SpanContext
from cdmd.models import (
    Apply,
    Bury,
    Changes,
    Discard,
    Entry,
    Event,
    Extended,
    Fault,
    Hold,
    Item,
    Micros,
    Newcomer,
    ProfileKey,
    Profiles,
    Seq,
    to_micros,
)
from cdmd.privacy.suppressions import Suppressions
from cdmd.profiles.audiences import Audiences
from cdmd.profiles.projection import Projection
from cdmd.profiles.telling import ToldValues
from cdmd.store.abreast import laid_over
from cdmd.store.applying import SqliteWriterTables, Sway, apply, put
from cdmd.store.batches import Found, look_up
from cdmd.store.keys import Digester
from tests.sizes import size

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
KINDS = {
    "customer_no": IdentifierSettings(priority=1, limit=1),
    "email": IdentifierSettings(priority=2, limit=2),
    "phone": IdentifierSettings(priority=3, normalize="phone", region="SE"),
}
PLAIN = Projection(
    {"rows": IndicatorSettings(on="*"), "points": IndicatorSettings(on="*", value="{data.points}", compute="sum")}
)
RULES = Rules(
    journal_id="journal",
    kinds=Kinds(IdentitySettings(identifiers=KINDS)),
    audiences=Audiences({}, PLAIN),
    digester=Digester(b"k" * 32),
)
HASHED = msgspec.structs.replace(
    RULES, kinds=Kinds(IdentitySettings(identifiers={**KINDS, "email_sha256": IdentifierSettings(priority=4)}))
)
OTHERS = {
    "audiences": {"audiences": Audiences({"all": AudienceSettings(where="true")}, PLAIN)},
    "reconciled": {"reconciled": {"crm.changes": "sup"}},
    "subscriptions": {
        "subscriptions": Subscriptions(
            [TargetConfig(name="crm", frame=TargetFrame(type="webhook", events=("*",)), settings=None, file="cdmd.toml")],
            ToldValues(Audiences({}, PLAIN), {}),
            journal_id="journal",
        )
    },
}
NUMBERS = st.sampled_from(["C1", "C2", "C3", "C4", "C5", " ", ""])
EMAILS = st.sampled_from(["a@example.com", "A@example.com", "b@example.com", "c@example.com", "nobody", "é@example.com"])
PHONES = st.sampled_from(["070 123 45 67", "070 123 45 68", "x"])
EVENTS = st.builds(
    lambda number, held, ids, hours, more: Event(
        id=f"{ids}",
        source="sup" if number else "sup.people",
        type="customer.received",
        received=NOW,
        time=None if hours is None else NOW + timedelta(hours=hours),
        identifiers=held,
        traits={"name": number, "vip": more, "gone": None},
        data={"points": more},
    ),
    number=st.integers(0, 2),
    held=st.fixed_dictionaries({}, optional={"customer_no": NUMBERS, "email": EMAILS, "phone": PHONES, "other": NUMBERS}),
    ids=st.integers(0, 30),
    hours=st.sampled_from([None, None, None, 1, -1]),
    more=st.sampled_from([1, "x", None, True]),
)
OUTCOMES = st.sampled_from([Apply()] * 9 + [Discard("no"), Bury(Fault("bad", "bad")), Hold("slow", Micros(5), 1, "slow")])
ENTRIES = st.sampled_from([{}] * 9 + [{"brief": True}, {"adjusted": True}, {"fault": Fault("bad", "bad"), "raw": b"{}"}])
BATCHES = st.lists(st.lists(st.tuples(EVENTS, OUTCOMES, ENTRIES), min_size=1, max_size=8), min_size=1, max_size=3)


def event(number: int, **held: str) -> tuple[Event, Apply, dict[str, Any]]:
    one = Event(id=f"e{number}", source="sup", type="t", received=NOW, identifiers=held, traits={"n": number})
    return one, Apply(), {}


def prepared(batch: Sequence[tuple[Event, Any, dict[str, Any]]], first: int, rules: Rules = RULES) -> Decision:
    work = [
        (Item(seq=Seq(seq), entry=Entry(one, **entry), outcome=outcome), one)
        for seq, (one, outcome, entry) in enumerate(batch, first)
    ]
    return Decision(prepare(rules, work), position=Seq(first + len(batch) - 1), parked=0, now=Micros(to_micros(NOW)))


@cache
def empty() -> sqlite3.Connection:
    """A new store; what is tried is tried in memory."""
    with tempfile.TemporaryDirectory() as folder:
        tables = SqliteWriterTables.open(Path(folder) / "store.db", Sway())
        made = sqlite3.connect(":memory:", check_same_thread=False)
        tables.connection.backup(made)
        tables.close()
    return made


@contextmanager
def store() -> Iterator[tuple[SqliteWriterTables, sqlite3.Connection]]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        empty().backup(connection)
        yield SqliteWriterTables(connection, Sway()), connection


def decisions(batches: Any, rules: Rules) -> list[Decision]:
    firsts = accumulate(map(len, batches), initial=1)
    return [prepared(batch, first, rules) for batch, first in zip(batches, firsts, strict=False)]


def written(
    batches: Any, rules: Rules, way: Callable[[SqliteWriterTables, list[Decision]], None]
) -> tuple[list[str], list[Any]]:
    """All that the store holds afterwards, and what was told of each event."""
    made = decisions(batches, rules)
    with store() as (tables, connection):
        way(tables, made)
        return list(connection.iterdump()), [fate for one in made for fate in one.fates]


def at_once(tables: SqliteWriterTables, made: list[Decision]) -> None:
    for one in made:
        apply(one.wanted, one, tables, now=lambda: NOW)


def ordinary(tables: SqliteWriterTables, made: list[Decision]) -> None:
    """Nobody is taken for a newcomer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Newcomers, "take", lambda *_: None)
        at_once(tables, made)


def in_steps(tables: SqliteWriterTables, made: list[Decision]) -> None:
    """All are looked up and decided before the first is written."""
    found, decided = list[Found](), list[Changes]()
    for one in made:
        found.append(laid_over(look_up(tables, one.wanted), decided, one.wanted))
        decided.append(one(found[-1].known))
    for changes, upon in zip(decided, found, strict=True):
        put(tables, changes, upon, now=lambda: NOW)


def across(tables: SqliteWriterTables, made: list[Decision]) -> None:
    """As where a process of its own writes."""
    here, there = DecisionCrossing(), Decisions()
    for one in made:
        there._rules = one.ready.rules
        wanted, decide = there.decision(here.sent(one))
        apply(wanted, decide, tables, now=lambda: NOW)
        here.answered(one, there.answer(decide))


@pytest.mark.parametrize("rules", [RULES, HASHED], ids=["plain", "with digests"])
@settings(max_examples=size("CDMD_EXAMPLES", short=20, long=250), deadline=None)
@given(batches=BATCHES)
@example(batches=[[event(1, email="a@example.com"), event(2, email="b@example.com"), event(3, email="a@example.com")]])
@example(batches=[[event(1, email="a@example.com"), event(1, email="b@example.com")], [event(1, email="c@example.com")]])
@example(
    batches=[
        [event(1, email="a@example.com"), event(2, customer_no="C1"), event(3, email="a@example.com", customer_no="C1")],
        [event(4, email="a@example.com", phone="070 123 45 67"), event(5, phone="070 123 45 67")],
    ]
)
@example(batches=[[event(1, email="a@example.com", customer_no="C1"), event(2, email="a@example.com", customer_no="C2")]])
@example(batches=[[event(1, email="a@example.com")], [event(n, email=f"{'abb'[n - 2]}@example.com") for n in (2, 3, 4)]])
def test_the_store_and_what_is_told_are_the_same_whichever_way(batches: Any, rules: Rules) -> None:
    expected = written(batches, rules, ordinary)
    for way in (at_once, in_steps, across):
        assert written(batches, rules, way) == expected, way.__name__


@pytest.mark.parametrize("rules", [HASHED, msgspec.structs.replace(RULES, **OTHERS["audiences"])], ids=["plain", "judged"])
@settings(max_examples=size("CDMD_EXAMPLES", short=20, long=250), deadline=None)
@given(batches=BATCHES)
@example(
    batches=[
        [event(1, email="a@example.com"), event(2, customer_no="C1"), event(3, email="a@example.com", customer_no="C1")],
        [event(4, email="a@example.com"), event(5, email="b@example.com")],
        [event(6, email="b@example.com"), event(7, email="b@example.com"), event(8, phone="070 123 45 67")],
    ]
)
def test_what_becomes_of_profiles_is_the_same_where_their_bodies_are_not_made_early(batches: Any, rules: Rules) -> None:
    with store() as (tables, _), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Newcomers, "take", lambda *_: None)
        for one in decisions(batches, rules):
            with pytest.MonkeyPatch.context() as never:
                never.setattr(People, "pack", lambda *_: None)
                expected = one(look_up(tables, one.wanted).known)
            changes = apply(one.wanted, one, tables, now=lambda: NOW)
            assert changes == expected


def test_only_the_body_is_kept_of_whom_one_event_of_a_batch_is_about() -> None:
    (decision,) = decisions([[event(1, email="a@example.com"), *[event(n, email="b@example.com") for n in (2, 3, 4)]]], RULES)
    with store() as (tables, _), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Newcomers, "take", lambda *_: None)
        profiles = Profiles.of(apply(decision.wanted, decision, tables, now=lambda: NOW).profiles)
        assert (list(profiles.bodies), list(profiles.states)) == ([1], [2])


def one(**changed: Any) -> Prepared:
    work, _, entry = event(1, email="a@example.com")
    work = msgspec.structs.replace(work, **changed)
    return prepared([(work, Apply(), entry)], 1).ready.items[0]


SOUND = one()


def test_what_comes_of_a_customer_of_a_first_load_is_made_at_once() -> None:
    assert isinstance(Making(RULES).made(SOUND, ProfileKey(1)), Newcomer)


@pytest.mark.parametrize(
    "item",
    [
        one(identifiers={}),
        one(identifiers={"email": "a@example.com", "phone": "x"}),
        one(time=NOW + timedelta(hours=1)),
        one(data={"points": "many"}),
        msgspec.structs.replace(one(), original=event(2)[0]),
        *(
            msgspec.structs.replace(SOUND, item=msgspec.structs.replace(SOUND.item, **changed))
            for changed in (
                {"resumed": True},
                {"trace": (Extended("x", 0.1, "done"),)},
                {"outcome": Discard("no")},
                {"entry": Entry(SOUND.original, brief=True)},
                {"entry": Entry(SOUND.original, adjusted=True)},
                {"entry": Entry(SOUND.original, span=SpanContext("0" * 32, "0" * 16, sampled=True))},
                {"entry": Entry(SOUND.original, fault=Fault("bad", "bad"))},
            )
        ),
    ],
)
def test_what_is_more_than_an_event_that_goes_to_a_profile_is_not(item: Prepared) -> None:
    assert Making(RULES).made(item, ProfileKey(1)) is None


def test_nobody_is_taken_at_once_where_others_have_a_say() -> None:
    assert may_be(RULES)
    listed = Suppressions(key=b"k", naming=lambda: RULES.kinds)
    listed.load([])
    assert may_be(msgspec.structs.replace(RULES, screen=listed))
    listed.load([listed.digest(("email", "gone@example.com"))])
    for changed in [{"screen": listed}, *OTHERS.values()]:
        assert not may_be(msgspec.structs.replace(RULES, **changed))
    assert Making(msgspec.structs.replace(RULES, known_only=frozenset({"sup"}))).made(one(), ProfileKey(1)) is None
