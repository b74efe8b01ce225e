"""Why two identifiers are one person, and what kept two apart."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.config.schema import IdentifierSettings, IdentitySettings
from cdmd.identity.explaining import MOST_REFUSALS, Carrier, Link, carrier, chain, refusals, remembered
from cdmd.identity.identifiers import Kinds, Pair
from cdmd.identity.resolution import given_up
from cdmd.models import Activity, Event, Micros, ProfileKey, Seq
from tests.identity.test_resolution import A1, A2, JANE, JOE, SEGMENT, U1, U2, Shop

ABC123, ABC456 = ("user_id", "abc123"), ("user_id", "abc456")


class Told(Shop):
    """A shop that remembers its events, as a store does."""

    def __init__(self, kinds: Kinds = SEGMENT) -> None:
        super().__init__(kinds)
        self.activities: list[Activity] = []

    def tell(self, *identifiers: Pair) -> str:
        found = self.see(*identifiers)
        named = Event(
            id=f"e{self.seq}",
            source="shop",
            type="seen",
            received=datetime(2026, 1, 1, tzinfo=UTC),
            identifiers=dict(identifiers),
        )
        self.activities.append(
            Activity(seq=Seq(self.seq), profile=found.profile, time=Micros(self.seq), event=named, rule=found.rule)
        )
        return found.rule

    @property
    def carriers(self) -> list[Carrier]:
        return [carrier(one, self.kinds) for one in self.activities]

    def owned(self, pair: Pair) -> Collection[Pair]:
        return self.values(self.owners[pair]) if pair in self.owners else ()

    def chain(self, first: Pair, second: Pair) -> list[Link] | None:
        return chain(first, second, self.carriers, owned=self.owned(first), kinds=self.kinds)

    def refusals(self, first: Pair, second: Pair) -> list[Carrier]:
        return refusals(first, second, self.carriers, of_first=self.owned(first), of_second=self.owned(second))


@pytest.fixture
def shop() -> Told:
    return Told()


def steps(links: Sequence[Link] | None) -> list[tuple[Pair, Pair, str | None]]:
    assert links is not None
    return [(link.one, link.other, link.carrier and link.carrier.rule) for link in links]


def test_the_worked_example_names_the_event_and_the_limit_that_kept_them_apart(shop: Told) -> None:
    shop.tell(ABC123, JANE)
    shop.tell(ABC456, JANE)
    (refusal,) = shop.refusals(ABC456, JANE)
    assert (refusal.seq, refusal.refused) == (2, {"email": "limit of user_id"})
    assert shop.refusals(ABC123, ABC456) == [refusal], "the event carried the one and an address of the other"
    assert steps(shop.chain(ABC123, JANE)) == [(ABC123, JANE, "new")]


def test_the_chain_runs_over_what_events_carried_and_names_the_merge(shop: Told) -> None:
    shop.tell(U1)
    shop.tell(A1, JANE)
    shop.tell(A2, JOE)
    shop.tell(JANE, A2)
    shop.tell(U1, A1)
    assert steps(shop.chain(U1, JOE)) == [
        (U1, A1, "merged on user_id, anonymous_id"),
        (A1, JANE, "new"),
        (JANE, A2, "merged on email, anonymous_id"),
        (A2, JOE, "new"),
    ]


def test_of_equal_chains_the_earliest_events_are_told(shop: Told) -> None:
    shop.tell(U1, JANE)
    shop.tell(U1, JANE)
    assert [link.carrier and link.carrier.seq for link in shop.chain(JANE, U1) or ()] == [1]


def test_a_step_that_leads_back_is_not_taken_again(shop: Told) -> None:
    shop.tell(U1, JANE, A1)
    shop.tell(JANE, A2)
    assert steps(shop.chain(U1, A2)) == [(U1, JANE, "new"), (JANE, A2, "matched email")]


def test_an_identifier_leads_to_itself_in_no_step(shop: Told) -> None:
    shop.tell(U1)
    assert shop.chain(U1, U1) == []


def test_an_identifier_that_was_given_up_leads_nowhere(shop: Told) -> None:
    shop.tell(U1, A1)
    shop.tell(U2, A1)
    shop.tell(U2, JANE, A1)
    assert steps(shop.chain(U2, JANE)) == [(U2, JANE, "matched user_id; anonymous_id given up: limit of user_id")]
    assert chain(A1, U2, shop.carriers, owned=[A1, U2], kinds=SEGMENT) is None


def test_an_event_that_only_a_digest_could_have_joined_is_told() -> None:
    settings = {
        "user_id": IdentifierSettings(priority=1, limit=1),
        "email": IdentifierSettings(priority=2),
        "email_sha256": IdentifierSettings(priority=3),
    }
    shop = Told(Kinds(IdentitySettings(identifiers=settings)))
    digest = ("email_sha256", sha256(b"jane@example.com").hexdigest())
    shop.tell(U1, digest)
    shop.tell(U2, JANE)
    (refusal,) = shop.refusals(U1, U2)
    assert (refusal.seq, refusal.refused) == (2, {"email_sha256": "limit of user_id"})
    assert refusal.pairs == [U2, JANE], "what is shown is what arrived"
    assert shop.refusals(digest, U2) == [refusal]


def test_a_digest_that_goes_with_the_value_it_stands_for_is_not_told_twice() -> None:
    settings = {
        "user_id": IdentifierSettings(priority=1, limit=1),
        "email": IdentifierSettings(priority=2),
        "email_sha256": IdentifierSettings(priority=3),
    }
    shop = Told(Kinds(IdentitySettings(identifiers=settings)))
    shop.tell(U1, JANE)
    assert shop.tell(U2, JANE) == "new; email given up: limit of user_id"
    assert shop.tell(U2, JOE) == "matched user_id"


def test_a_digest_leads_to_its_plain_value_without_an_event() -> None:
    settings = {"email": IdentifierSettings(priority=1), "email_sha256": IdentifierSettings(priority=2)}
    shop = Told(Kinds(IdentitySettings(identifiers=settings | {"user_id": IdentifierSettings(priority=3)})))
    digest = ("email_sha256", sha256(b"jane@example.com").hexdigest())
    shop.tell(digest, U1)
    shop.tell(JANE)
    assert steps(shop.chain(JANE, U1)) == [(JANE, digest, None), (digest, U1, "new")]
    assert steps(shop.chain(U1, JANE)) == [(U1, digest, "new"), (digest, JANE, None)]
    assert chain(JANE, U1, shop.carriers, owned=[JANE, U1], kinds=shop.kinds) is None, "the digest is somebody else's"


def test_a_merge_is_remembered_where_its_event_is_no_longer_kept(shop: Told) -> None:
    shop.tell(U1)
    shop.tell(JANE)
    shop.tell(U1, JANE)
    kept = shop.carriers[:2]
    (left,) = remembered(shop.merges, kept)
    assert (left.seq, left.event, left.pairs) == (3, None, [U1, JANE])
    assert steps(chain(U1, JANE, [*kept, left], owned=[U1, JANE], kinds=SEGMENT)) == [(U1, JANE, "merged on user_id, email")]
    assert remembered(shop.merges, shop.carriers) == []


def test_people_who_were_never_on_one_event_have_nothing_that_kept_them_apart(shop: Told) -> None:
    shop.tell(U1, A1)
    shop.tell(U2, A2)
    assert shop.refusals(U1, U2) == []


def test_a_value_beyond_a_limit_is_nobodys_and_its_events_say_so(shop: Told) -> None:
    numbers = [("phone", f"+4670000000{number}") for number in range(3)]
    for number in numbers:
        shop.tell(U1, number)
    assert [one.refused for one in shop.refusals(U1, numbers[2])] == [{"phone": "limit of phone"}]


def test_events_with_both_come_first_and_not_all_of_them_are_told(shop: Told) -> None:
    shop.tell(U1, A1, JANE)
    for _ in range(MOST_REFUSALS):
        shop.tell(U2, A1)
    shop.tell(U2, JANE)
    found = shop.refusals(U2, JANE)
    assert len(found) == MOST_REFUSALS
    assert [one.seq for one in found[:2]] == [MOST_REFUSALS + 2, 2]


def test_what_was_given_up_is_read_from_the_rule() -> None:
    assert given_up("new") == {}
    said = "merged on a, b; phone given up: limit of phone; x y given up: limit of 100 merges; not added: limit of 9"
    assert given_up(said) == {"phone": "limit of phone", "x y": "limit of 100 merges"}


pairs = st.dictionaries(
    st.sampled_from(["user_id", "email", "phone", "anonymous_id"]),
    st.integers(1, 4).map("u{}@example.com".format),
    min_size=1,
    max_size=4,
)


@given(st.lists(pairs, max_size=25))
def test_every_two_identifiers_of_a_profile_are_explained_by_events_that_carried_them(events: list[dict[str, str]]) -> None:
    shop = Told()
    for one in events:
        shop.tell(*[(kind, one[kind]) for kind in SEGMENT.limits if kind in one])
    for key in {ProfileKey(key) for key in shop.owners.values()}:
        values = sorted(shop.values(key))
        for other in values:
            here = values[0]
            for link in shop.chain(values[0], other) or ():
                assert link.one == here
                assert link.carrier is not None
                assert {link.one, link.other} <= set(link.carrier.pairs)
                here = link.other
            assert here == other
