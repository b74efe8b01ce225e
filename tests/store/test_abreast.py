"""Batches under way side by side come to what they come to one after the other."""

import sqlite3
import tempfile
import threading
from pathlib import Path

import anyio
import anyio.lowlevel
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdmd.batches.deciding import Decision
from cdmd.errors import NotDurable
from cdmd.models import (
    Changes,
    Known,
    ProfileKey,
    ProfileState,
    Wanted,
)
from cdmd.store.abreast import laid_over
from cdmd.store.batches import Found
from cdmd.store.tables import Tables
from tests.store.deciding import decision, order, resumed, side_by_side, store_in, tables

pytestmark = pytest.mark.anyio

IDENTIFIERS = st.dictionaries(st.sampled_from(["email", "user_id", "anonymous_id"]), st.sampled_from("abc"), min_size=1)
EVENTS = st.tuples(st.integers(0, 15), IDENTIFIERS)
BATCHES = st.lists(st.lists(EVENTS, min_size=1, max_size=4), min_size=2, max_size=5)


def _decisions(batches: list[list[tuple[int, dict[str, str]]]]) -> list[Decision]:
    made, first = [], 1
    for batch in batches:
        made.append(decision(first, *(order(f"e{number}", **_whole(held)) for number, held in batch)))
        first += len(batch)
    return made


def _whole(identifiers: dict[str, str]) -> dict[str, str]:
    return {kind: f"{value}@example.com" if kind == "email" else value for kind, value in identifiers.items()}


@given(batches=BATCHES)
@settings(max_examples=25, deadline=None)
def test_side_by_side_they_come_to_the_same_as_one_after_the_other(batches: list[list[tuple[int, dict[str, str]]]]) -> None:
    async def check() -> None:
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            async with store_in(Path(one)) as store:
                for made in _decisions(batches):
                    await store.apply(made.wanted, made)
            async with store_in(Path(other)) as store:
                await side_by_side(store, _decisions(batches))
            assert tables(Path(one)) == tables(Path(other))

    anyio.run(check)


async def test_a_batch_is_decided_while_the_one_before_it_is_written(tmp_path: Path) -> None:
    """The writing of the second waits, on the writer's thread, until the third was decided: else it would wait for ever."""
    decided = threading.Event()

    class Late(Decision):
        def __call__(self, known: Known) -> Changes:
            changes = super().__call__(known)
            decided.set()
            return changes

    async with store_in(tmp_path) as store:
        put = store._abreast._put

        def slow(tables: Tables, changes: Changes, found: object) -> None:
            assert decided.wait(5)
            put(tables, changes, found)  # type: ignore[arg-type]

        store._abreast._put = slow
        third = decision(3, order("3", email="c@example.com"))
        third.__class__ = Late
        await side_by_side(
            store,
            [decision(1, order("1", email="a@example.com")), decision(2, order("2", email="b@example.com")), third],
        )
        assert store.position == 3
        assert (await store.totals()).profiles == 3


async def test_what_was_decided_upon_a_batch_that_is_not_written_is_not_written_either(tmp_path: Path) -> None:
    async with store_in(tmp_path) as store:
        one, two, three = (decision(n, order(str(n), email="a@example.com")) for n in (1, 2, 3))
        put, failures = store._abreast._put, []

        def fails_once(tables: Tables, changes: Changes, found: object) -> None:
            if changes.position == 2 and not failures:
                failures.append(changes.position)
                raise sqlite3.OperationalError("database or disk is full")
            put(tables, changes, found)  # type: ignore[arg-type]

        store._abreast._put = fails_once
        caught: list[int] = []

        async def apply(number: int, made: Decision) -> None:
            try:
                await store.apply(made.wanted, made)
            except NotDurable:
                caught.append(number)

        async with anyio.create_task_group() as tasks:
            for number, made in enumerate((one, two, three), 1):
                tasks.start_soon(apply, number, made)
        assert caught == [2, 3]
        assert store.position == 1
        for made in (two, three):
            await store.apply(made.wanted, made)
        found = await store.profile("email", "a@example.com", activities=9)
        assert found is not None
        assert sorted(one.seq for one in found.activities) == [1, 2, 3]


@pytest.mark.parametrize("in_steps", [True, False])
async def test_what_follows_a_batch_that_cannot_be_decided_is_not_written(tmp_path: Path, *, in_steps: bool) -> None:
    async with store_in(tmp_path) as store:
        store._abreast._steps = in_steps

        def breaks(known: Known) -> Changes:
            raise LookupError("a fault of ours")

        caught: list[type[Exception]] = []

        async def apply(wanted: Wanted, decide: object) -> None:
            try:
                await store.apply(wanted, decide)  # type: ignore[arg-type]
            except (LookupError, NotDurable) as error:
                caught.append(type(error))

        following = decision(2, order("2", email="a@example.com"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(apply, Wanted((), ()), breaks)
            tasks.start_soon(apply, following.wanted, following)
        assert caught == [LookupError, NotDurable]
        assert store.position == 0
        await store.apply(following.wanted, following)
        assert store.position == 2


async def test_who_else_writes_waits_for_the_batches_under_way_and_they_for_it(tmp_path: Path) -> None:
    async with store_in(tmp_path) as store:
        go, seen = threading.Event(), list[str]()
        first, second = decision(1, order("1", email="a@example.com")), decision(2, order("2", email="b@example.com"))

        def held(known: Known) -> Changes:
            assert go.wait(60)
            return second(known)

        async def apply(name: str, wanted: Wanted, decide: object) -> None:
            await store.apply(wanted, decide)  # type: ignore[arg-type]
            seen.append(name)

        async def note() -> None:
            await store.note("x", "y")
            seen.append("note")

        third = decision(3, order("3", email="c@example.com"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(apply, "first", first.wanted, first)
            tasks.start_soon(apply, "second", second.wanted, held)
            while seen != ["first"]:
                await anyio.lowlevel.checkpoint()
            tasks.start_soon(note)
            await anyio.lowlevel.checkpoint()
            tasks.start_soon(apply, "third", third.wanted, third)
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            go.set()
        assert seen == ["first", "second", "note", "third"]


async def test_what_is_written_is_let_go_of_while_others_are_still_under_way(tmp_path: Path) -> None:
    async with store_in(tmp_path) as store:
        go = threading.Event()
        made = [decision(n, order(str(n), email="a@example.com")) for n in (1, 2, 3)]

        def held(known: Known) -> Changes:
            assert go.wait(60)
            return made[2](known)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.apply, made[0].wanted, made[0])
            tasks.start_soon(store.apply, made[1].wanted, made[1])
            tasks.start_soon(store.apply, made[2].wanted, held)
            while store.position < 2 or len(store._abreast._batches) > 1:
                await anyio.lowlevel.checkpoint()
            go.set()
        assert store.position == 3


async def test_those_who_write_all_the_time_do_not_keep_a_batch_waiting(tmp_path: Path) -> None:
    async with store_in(tmp_path) as store:
        made = decision(1, order("1", email="a@example.com"))

        async def write() -> None:
            while store.position < 1:
                await store.note("x", "y")

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(write)
                for _ in range(3):
                    await anyio.lowlevel.checkpoint()
                    tasks.start_soon(write)
                await anyio.lowlevel.checkpoint()
                tasks.start_soon(store.apply, made.wanted, made)
        assert store.position == 1


async def test_what_is_parked_and_taken_up_again_is_known_although_it_is_not_written_yet(tmp_path: Path) -> None:
    async with store_in(tmp_path) as store:
        waiting = order("2", email="b@example.com")
        await side_by_side(
            store,
            [
                decision(1, order("1", email="a@example.com")),
                decision(2, waiting, parked=("2",)),
                resumed(2, waiting),
                resumed(2, waiting),
            ],
        )
        totals = await store.totals()
        assert (totals.parked, totals.activities, totals.profiles) == (0, 2, 2)


async def test_a_batch_that_is_given_up_leaves_none_waiting(tmp_path: Path) -> None:
    async with store_in(tmp_path) as store:
        go, caught = threading.Event(), list[type[Exception]]()
        made = [decision(n, order(str(n), email="a@example.com")) for n in (1, 2, 3)]

        def held(known: Known) -> Changes:
            assert go.wait(60)
            return made[1](known)

        async def third() -> None:
            try:
                await store.apply(made[2].wanted, made[2])
            except NotDurable as error:
                caught.append(type(error))

        async with anyio.create_task_group() as tasks, anyio.create_task_group() as given_up:
            given_up.start_soon(store.apply, made[0].wanted, made[0])
            given_up.start_soon(store.apply, made[1].wanted, held)
            await anyio.lowlevel.checkpoint()
            tasks.start_soon(third)
            await anyio.lowlevel.checkpoint()
            given_up.cancel_scope.cancel()
            go.set()
        assert caught == [NotDurable]
        for one in made[store.position :]:
            await store.apply(one.wanted, one)
        assert store.position == 3


def test_whom_an_identifier_belongs_to_is_at_the_end_of_what_was_merged_meanwhile() -> None:
    pair, loser, winner = ("email", "a@example.com"), ProfileKey(1), ProfileKey(2)
    states = {loser: ProfileState("A", 1, 1), winner: ProfileState("B", 1, 1)}
    found = Found(Known({}, {pair: loser}, {loser: states[loser]}, ProfileKey(3)), {}, frozenset(), {})
    merged = msgspec.structs.replace(states[loser], merged_into=winner)
    known = laid_over(found, [Changes(profiles={loser: merged, winner: states[winner]})], Wanted((), [pair])).known
    assert known.owners == {pair: winner}
    assert known.profiles == {winner: states[winner]}
