"""Which of the two that a profile is split into has what both were seen with."""

from cdmd.config.schema import IdentitySettings
from cdmd.identity.identifiers import Kinds, Pair
from cdmd.identity.siding import sides
from cdmd.models import Carried, IdentifierState, Micros, ProfileKey, ProfileState, Seq

KINDS = Kinds(IdentitySettings())
JOE: Pair = ("email", "joe@example.com")
EVE: Pair = ("email", "eve@example.com")
TABLET: Pair = ("anonymous_id", "tablet")


def seen(at: int, arrived: int, *pairs: Pair) -> Carried:
    return Carried(Micros(at), "shop", f"e{at}", Seq(arrived), ProfileKey(1), list(pairs), [])


def test_what_both_were_seen_with_is_whose_it_was_first_however_late_that_was_told() -> None:
    state = ProfileState("p", 1, 2, [IdentifierState(*pair, 1, 2, "shop") for pair in (JOE, EVE, TABLET)])
    told_late = [seen(2, 1, EVE, TABLET), seen(1, 2, JOE, TABLET)]
    for events in (told_late, told_late[::-1]):
        joe, eve = sides(state, events, first=JOE, second=EVE, merges=[], kinds=KINDS)
        assert {(one.kind, one.value) for one in joe.identifiers} == {JOE, TABLET}
        assert {(one.kind, one.value) for one in eve.identifiers} == {EVE}
