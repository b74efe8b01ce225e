"""What customers allow: the newest word counts, in any order of events and over merges; what is restricted is not used."""

from datetime import UTC, datetime
from typing import Any

from cdmd.config.governing import PrivacySettings
from cdmd.config.schema import AudienceSettings
from cdmd.models import Event, Micros, ProfileState, Seq
from cdmd.profiles.audiences import Audiences
from cdmd.profiles.projection import Projection

PROJECTION = Projection({})
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def said(kind: str, at: int, purpose: Any = None, *, state: ProfileState | None = None) -> ProfileState:
    state = ProfileState("p", 0, 0) if state is None else state
    data = {} if purpose is None else {"purpose": purpose}
    event = Event(id=f"{at}", source="shop", type=kind, received=NOW, data=data)
    PROJECTION.project(state, event, at=Micros(at), seq=Seq(at))
    return state


def test_a_purpose_is_granted_until_it_is_withdrawn_and_the_newest_word_counts() -> None:
    state = said("consent.granted", 5, ["marketing", "analysis"])
    assert state.allows(["marketing", "analysis"])
    assert not state.allows(["marketing", "profiling"])
    said("consent.withdrawn", 9, "marketing", state=state)
    said("consent.granted", 7, "marketing", state=state)
    assert not state.allows(["marketing"])
    assert state.allows(["analysis"])
    assert state.allows([])


def test_what_names_no_purpose_says_nothing_and_there_are_only_so_many() -> None:
    state = said("consent.granted", 1, [7, "", None])
    said("consent.granted", 2, state=state)
    said("order.paid", 3, "marketing", state=state)
    assert state.purposes == {}
    said("consent.granted", 4, [f"p{n}" for n in range(100)], state=state)
    said("consent.granted", 5, ["one.more"], state=state)
    assert len(state.purposes) == 100


def test_a_restriction_holds_until_it_is_lifted_whatever_was_granted() -> None:
    state = said("consent.granted", 1, "marketing")
    said("privacy.restricted", 5, state=state)
    said("privacy.unrestricted", 3, state=state)
    assert not state.allows(["marketing"])
    assert not state.allows([])
    said("privacy.unrestricted", 6, state=state)
    assert state.allows(["marketing"])


def test_of_two_who_are_one_the_newest_word_counts() -> None:
    winner, loser = said("consent.granted", 1, ["a", "b"]), said("consent.withdrawn", 2, ["a", "c"])
    said("privacy.restricted", 3, state=loser)
    PROJECTION.combine(winner, loser)
    assert {name: one.value for name, one in winner.purposes.items()} == {"a": False, "b": True, "c": False}
    assert not winner.allows([])
    other = said("privacy.unrestricted", 4)
    PROJECTION.combine(other, winner)
    assert other.allows(["b"])


def test_an_audience_holds_only_those_who_granted_what_it_requires_and_nobody_restricted() -> None:
    settings = {"mail": AudienceSettings(where="true", required_purposes=("marketing",)), "all": AudienceSettings(where="true")}
    audiences = Audiences(settings, PROJECTION)

    def within(state: ProfileState) -> list[str]:
        return [one.name for one in audiences.every if audiences.holds(one, state, Micros(9), {})]

    state = said("order.paid", 1)
    assert within(state) == ["all"]
    assert within(said("consent.granted", 2, "marketing", state=state)) == ["mail", "all"]
    assert within(said("privacy.restricted", 3, state=state)) == []
    plain = Audiences({"mail": AudienceSettings(where="true")}, PROJECTION)
    assert plain.definitions["mail"] != audiences.definitions["mail"], "another requirement is another definition"


def test_types_are_those_of_the_configuration_and_not_remembered_without_end() -> None:
    projection = Projection({}, privacy=PrivacySettings(grants=("yes.*",), withdrawals=()))
    state = ProfileState("p", 0, 0)
    for number in range(5000):
        event = Event(id="1", source="shop", type=f"yes.{number}", received=NOW, data={"purpose": "a"})
        projection.project(state, event, at=Micros(number), seq=Seq(number + 1))
    assert state.allows(["a"])
    assert len(projection._purposes._by_type) <= 4096
