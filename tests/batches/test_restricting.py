"""Customers who are stored and not used because an administrator said so."""

from cdmd.batches.restricting import Restricting
from cdmd.models import Changes, ProfileKey
from tests.batches.test_regrouping import living
from tests.batches.world import World, micros, order, rules

JOE = ("email", "joe@example.com")
LOYAL = {"loyal": "indicators.orders >= 1"}


def said(world: World, *, restricted: bool, hours: float) -> tuple[Restricting, Changes]:
    decision = Restricting(JOE, world.audiences, restricted=restricted, journal_id="journal", now=micros(hours))
    return decision, world.write(decision(world.known()))


def test_whoever_is_restricted_is_in_no_audience_and_comes_back_when_it_is_lifted() -> None:
    world = World(rules(LOYAL))
    world.take(order(1, hours=1))
    decision, _ = said(world, restricted=True, hours=2)
    assert decision.changed
    assert decision.owner is not None
    assert (decision.owner.audiences, world.joe().audiences) == ({}, {})
    world.take(order(2, hours=3))
    assert world.joe().audiences == {}
    said(world, restricted=False, hours=4)
    assert world.told() == [
        ("loyal", True, 1.0, "event order.paid"),
        ("loyal", False, 2.0, "processing was restricted"),
        ("loyal", True, 4.0, "processing is no longer restricted"),
    ]


def test_it_is_on_the_disk_before_anybody_is_told() -> None:
    world = World(rules(LOYAL))
    world.take(order(1, hours=1))
    _, changes = said(world, restricted=True, hours=2)
    assert changes.swayed
    assert changes.owners == {JOE: ProfileKey(1)}


def test_what_is_so_already_changes_nothing_and_nobody_is_nobody() -> None:
    world = World(rules(LOYAL))
    decision, changes = said(world, restricted=True, hours=1)
    assert (decision.owner, decision.changed, changes) == (None, False, Changes())
    world.take(order(1, hours=1))
    decision, changes = said(world, restricted=False, hours=2)
    assert decision.owner is not None
    assert (decision.changed, changes) == (False, Changes())


def test_whoever_spoke_last_counts_an_event_or_an_administrator() -> None:
    world = World(rules(LOYAL))
    world.take(order(1, hours=1), order(2, hours=9, type="privacy.restricted"))
    said(world, restricted=False, hours=5)
    assert set(world.joe().audiences) == {"loyal"}, "also where the event's time is yet to come"
    world.take(order(3, hours=6, type="privacy.restricted"))
    assert set(world.joe().audiences) == {"loyal"}, "an older word than the administrator's"
    world.take(order(4, hours=10, type="privacy.restricted"))
    assert world.joe().audiences == {}


def test_a_restriction_outlives_a_merge_with_somebody_of_whom_nothing_was_said() -> None:
    world = World(rules(LOYAL))
    world.take(order(1, hours=1))
    said(world, restricted=True, hours=2)
    world.take(order(2, hours=0, identifiers={"user_id": "u"}))
    world.take(order(3, hours=3, identifiers={"user_id": "u", "email": "joe@example.com"}))
    (state,) = living(world).values()
    assert state.restricted is not None
    assert (state.restricted.value, state.audiences) == (True, {})
