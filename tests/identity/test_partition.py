from datetime import UTC, datetime

from cdmd.config.schema import IdentitySettings
from cdmd.identity.identifiers import Kinds
from cdmd.identity.partition import Partition
from cdmd.models import Event

KINDS = Kinds(IdentitySettings())


def event(id: str = "e", **identifiers: str) -> Event:
    return Event(id=id, source="shop", type="t", received=datetime(2026, 11, 24, tzinfo=UTC), identifiers=identifiers)


def test_a_customers_events_go_together_by_the_strongest_identifier_in_its_one_form() -> None:
    part = Partition(b"key", lambda: KINDS)
    same = [event("1", email="Joe@Example.com"), event("2", email="joe@example.com", anonymous_id="x")]
    assert part(same[0]) == part(same[1])
    assert part(event(user_id="7", email="joe@example.com")) == part(event(user_id="7"))
    spread = {part(event(email=f"{n}@example.com")) for n in range(200)}
    assert len(spread) > 190
    assert all(0 <= one < 65_536 for one in spread)


def test_without_an_identifier_it_goes_by_its_source_and_id() -> None:
    part = Partition(b"key", lambda: KINDS)
    assert part(event("1", colour="blue")) == part(event("1"))
    assert part(event("1")) != part(event("2"))


def test_another_key_gives_other_lanes() -> None:
    assert Partition(b"a", lambda: KINDS)(event("1")) != Partition(b"b", lambda: KINDS)(event("1"))
