"""Profiles made anew from the people that their events come to."""

from collections.abc import Mapping
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from cdmd.batches.parting import Parting, Unsaying, unnamed
from cdmd.batches.regrouping import Plan, Regrouping
from cdmd.batches.sweeping import members_of
from cdmd.config.schema import IdentitySettings
from cdmd.identity.identifiers import Kinds, Pair
from cdmd.identity.keeping_apart import Splits
from cdmd.identity.replaying import carried, replayed
from cdmd.identity.siding import sides
from cdmd.models import Activity, Changes, IdentifierState, Merge, Micros, ProfileKey, ProfileState, Seq
from tests.batches.world import World, micros, order, rules
from tests.sizes import size

SPLITS = Splits(b"key")
KINDS = Kinds(IdentitySettings(), SPLITS)
NOW = 12.0
VALUES = {"user_id": ("u", "v", "w"), "email": ("e@x.se", "f@x.se", "g@x.se"), "anonymous_id": ("x", "y", "z")}
IDENTIFIERS = st.dictionaries(st.sampled_from(sorted(VALUES)), st.integers(0, 2), min_size=1)
EVENTS = st.lists(st.tuples(IDENTIFIERS, st.integers(0, 40), st.booleans()), min_size=2, max_size=14)


def told(drawn: Mapping[str, int]) -> dict[str, str]:
    return {kind: VALUES[kind][place] for kind, place in drawn.items()}


def living(world: World) -> dict[ProfileKey, ProfileState]:
    return {key: state for key, state in world.profiles.items() if state.merged_into is None}


def activities(world: World, key: ProfileKey) -> list[Activity]:
    members = members_of(key, world.profiles[key])
    return [one for one in world.activities if one.profile in members]


def pairs(state: ProfileState) -> list[Pair]:
    return sorted((one.kind, one.value) for one in state.identifiers)


def split(world: World, key: ProfileKey, first: Pair, second: Pair) -> None:
    old, mine = world.old(key), activities(world, key)
    events = [carried(one, one.profile, KINDS) for one in mine if one.profile is not None]
    persons = sides(old.state, events, first=first, second=second, merges=old.merges, kinds=KINDS)
    world.regroup(Plan(persons, [old], events, splits=SPLITS, keep=True), mine, hours=NOW)


def stays_apart(world: World, first: Pair, second: Pair) -> bool:
    mine, theirs = (world.profiles[world.owners[pair]].apart for pair in (first, second))
    digests = SPLITS.digest(first), SPLITS.digest(second)
    return digests in mine and digests[::-1] in theirs


def assert_everybody_is_what_their_events_come_to(world: World) -> None:
    for key, state in living(world).items():
        fresh = ProfileState(state.public, state.created, state.updated, state.identifiers)
        for one in activities(world, key):
            world.audiences.projection.project(fresh, one.event, at=one.time, seq=one.seq, now=micros(NOW))
        assert world.audiences.projection.shown_traits(state) == world.audiences.projection.shown_traits(fresh)
        shown = world.audiences.projection.shown_indicators
        assert shown(state, micros(NOW)) == shown(fresh, micros(NOW))
        assert all(world.owners[pair] in members_of(key, state) for pair in pairs(state))
        assert {one.profile for one in activities(world, key)} <= set(members_of(key, state))
        assert all(world.profiles[ProfileKey(member)].merged_into is not None for member in state.members)
    carried_by = {one.seq: one for one in world.activities}
    assert len(carried_by) == len(world.activities)
    assert len({state.public for state in world.profiles.values()}) == len(world.profiles)


@settings(max_examples=size("CDMD_EXAMPLES", short=20, long=250), deadline=None)
@given(EVENTS, st.randoms(use_true_random=False), st.integers(1, 3))
def test_after_merges_and_splits_everybody_is_what_their_events_come_to(
    drawn: list[tuple[dict[str, int], int, bool]], random: Random, splits: int
) -> None:
    world, apart = World(rules(), kinds=KINDS), []
    events = [
        order(number, hours=NOW, late=hours / 4, identifiers=told(identifiers), traits={"vip": number, str(number): trusted})
        for number, (identifiers, hours, trusted) in enumerate(drawn)
    ]
    publics = set()
    for number in range(splits + 1):
        arrived = events[number :: splits + 1]
        world.take(*arrived, now=NOW)
        world.take(*random.sample(arrived, len(arrived) // 2), first=1_000 * (number + 1), now=NOW)
        publics |= {state.public for state in world.profiles.values()}
        several = [key for key, state in living(world).items() if len(state.identifiers) > 1]
        if several:
            key = random.choice(several)
            first, second = random.sample(pairs(world.profiles[key]), 2)
            split(world, key, first, second)
            apart.append({first, second})
        assert_everybody_is_what_their_events_come_to(world)
        assert not any(set(pairs(state)) >= both for state in living(world).values() for both in apart)
        assert all(stays_apart(world, *both) for both in apart), "both sides know it, however often they are split again"
        assert {state.public for state in world.profiles.values()} >= publics, "an id that was given out stays somebody's"


def test_who_was_split_stays_apart_when_both_are_split_again_and_their_event_is_anothers() -> None:
    world = World(rules(), kinds=KINDS)
    page, mail, user, other = ("anonymous_id", "x"), ("email", "f@x.se"), ("user_id", "u"), ("email", "e@x.se")
    world.take(order(1, hours=1, identifiers=dict([page, mail, user])), now=1)
    split(world, world.owners[mail], page, mail)
    split(world, world.owners[mail], mail, user)
    assert not activities(world, world.owners[mail]), "its only event is the user's"
    world.take(order(2, hours=2, identifiers=dict([page, other])), now=2)
    split(world, world.owners[page], page, other)
    assert not activities(world, world.owners[page]), "its only events are others'"
    world.take(order(3, hours=3, identifiers=dict([page, mail])), now=3)
    assert world.owners[page] != world.owners[mail], "what was split is not joined by new evidence either"
    assert all(stays_apart(world, *both) for both in ((page, mail), (mail, user), (page, other)))


def test_an_identifier_that_is_taken_from_somebody_takes_along_what_a_split_said_of_it() -> None:
    world = World(rules(), kinds=KINDS)
    first, second, mail, other = ("user_id", "v"), ("user_id", "u"), ("email", "f@x.se"), ("email", "g@x.se")
    world.take(order(1, hours=1, identifiers=dict([first])), now=1)
    world.take(order(2, hours=5, identifiers=dict([second, mail])), order(3, hours=6, identifiers=dict([other])), now=6)
    world.write(Parting(mail, other, splits=SPLITS, apart=True)(world.known()))
    world.take(order(4, hours=7, late=5, identifiers=dict([first, mail])), now=7)
    old, mine = world.old(world.owners[first]), activities(world, world.owners[first])
    events = [carried(one, one.profile, KINDS) for one in mine if one.profile is not None]
    plan = Plan(replayed(events, kinds=KINDS, among=[first, mail]), [old], events, splits=SPLITS, keep=False)
    changes = Regrouping(plan, world.audiences, journal_id="journal", now=micros(NOW), why="rebuilt")(world.known())
    world.write(changes)
    assert world.owners[mail] == world.owners[first]
    assert stays_apart(world, mail, other)
    assert not world.profiles[world.owners[second]].apart
    world.take(order(5, hours=8, identifiers=dict([second, other])), now=8)
    assert world.owners[second] == world.owners[other], "nobody said that these are two"


def test_a_split_tells_who_left_and_who_entered_an_audience() -> None:
    world = World(rules(), kinds=KINDS)
    world.take(
        order(1, hours=1, identifiers={"email": "ann@x.se"}, traits={"vip": True}),
        order(2, hours=2, identifiers={"email": "joe@x.se", "user_id": "u"}),
        order(3, hours=3, identifiers={"email": "ann@x.se", "user_id": "u"}),
        now=3,
    )
    (key,) = living(world)
    assert set(world.profiles[key].audiences) == {"vip", "busy", "reachable"}
    before = len(world.notices)
    split(world, key, ("email", "ann@x.se"), ("email", "joe@x.se"))
    told_of = [(one.audience, one.entered, one.reason, one.public) for one in world.notices[before:]]
    ann, joe = (world.profiles[world.owners["email", f"{name}@x.se"]] for name in ("ann", "joe"))
    assert ("reachable", False, "regrouped", ann.public) in told_of
    assert ("lapsed", True, "regrouped", joe.public) in told_of
    assert (sorted(ann.audiences), sorted(joe.audiences)) == (["lapsed", "vip"], ["lapsed"])


def test_a_plan_is_stale_once_its_profile_is_part_of_another() -> None:
    world = World(rules(), kinds=KINDS)
    world.take(order(1, hours=1), order(2, hours=2, identifiers={"email": "joe@example.com", "anonymous_id": "tv"}), now=3)
    (key,) = living(world)
    old, mine = world.old(key), activities(world, key)
    events = [carried(one, key, KINDS) for one in mine]
    first, second = pairs(old.state)
    persons = sides(old.state, events, first=first, second=second, merges=(), kinds=KINDS)
    decision = Regrouping(
        Plan(persons, [old], events, splits=SPLITS, keep=True),
        world.audiences,
        journal_id="journal",
        now=micros(NOW),
        why="split",
    )
    known = world.known()
    known.profiles[key].merged_into = 9
    assert decision(known) == Changes()
    assert decision.stale


def test_an_erasure_takes_out_what_a_split_said_even_where_it_stands_with_neither_party() -> None:
    world = World(rules(), kinds=KINDS)
    user, mail, other = ("user_id", "u"), ("email", "f@x.se"), ("email", "g@x.se")
    world.take(order(1, hours=1, identifiers=dict([user])), order(2, hours=2, identifiers=dict([mail])), now=2)
    key, apart = world.owners[user], (SPLITS.digest(mail), SPLITS.digest(other))
    world.profiles[key].apart = [apart, (SPLITS.digest(user), -7)]
    old, mine = world.old(key), activities(world, key)
    unsaying = Unsaying([key, ProfileKey(99)], {SPLITS.digest(other)}, splits=SPLITS)
    world.write(unsaying(world.known()))
    assert (unsaying.changed, world.profiles[key].apart) == (1, [(SPLITS.digest(user), -7)])
    events = [carried(one, one.profile, KINDS) for one in mine if one.profile is not None]
    stale = Plan(replayed(events, kinds=KINDS, among=[user]), [old], events, splits=SPLITS, keep=True)
    regrouping = Regrouping(stale, world.audiences, journal_id="journal", now=micros(NOW), why="rebuilt")
    assert not regrouping(world.known()).profiles
    assert regrouping.stale, "a rebuild that read it before does not write it again"


def test_a_merge_says_nothing_more_of_who_is_erased() -> None:
    mail, user = IdentifierState("email", "f@x.se", 1, 1, "shop"), IdentifierState("user_id", "u", 1, 1, "shop")
    before = ProfileState("p", 1, 1, [mail, user], apart=[(-7, -8)])
    pair = ("email", "f@x.se")
    merge = Merge(
        seq=Seq(1), time=Micros(1), winner=ProfileKey(1), loser=ProfileKey(2), identifiers=[pair], rule="", before=before
    )
    assert unnamed({SPLITS.digest(("email", "another"))}, SPLITS, merge) is merge
    left = unnamed({SPLITS.digest(pair), -8}, SPLITS, merge)
    assert (left.identifiers, left.before.identifiers, left.before.apart) == ([], [user], [])
