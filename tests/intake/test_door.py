"""Who may pass the door while it is not yet known who is known."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from cdmd.errors import Overloaded
from cdmd.intake.door import Door
from cdmd.models import Event

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 29, tzinfo=UTC)


def event(**identifiers: str) -> Event:
    return Event(id="1", source="supplier", type="seen", received=NOW, identifiers=identifiers)


def door(*, incomplete: frozenset[str]) -> Door:
    async def ask(pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        return {("email_sha256", "known")} & set(pairs)

    return Door(
        usable=lambda identifiers: sorted(identifiers.items()),
        ask=ask,
        guarded=frozenset({"supplier"}),
        incomplete=lambda: incomplete,
    )


async def test_a_stranger_by_a_kind_that_is_still_being_computed_waits_and_is_not_turned_away() -> None:
    one = door(incomplete=frozenset({"email_sha256", "phone_sha256"}))
    with pytest.raises(Overloaded, match="who is known by email_sha256, phone_sha256 is still being computed"):
        await one.unknown("supplier", [event(email_sha256="unknown")])


async def test_one_who_is_found_or_has_no_such_identifier_is_decided_on_at_once() -> None:
    one = door(incomplete=frozenset({"email_sha256"}))
    assert await one.unknown("supplier", [event(email_sha256="known"), event(email="who@example.com")]) == {1}


async def test_once_all_are_computed_a_stranger_is_one() -> None:
    assert await door(incomplete=frozenset()).unknown("supplier", [event(email_sha256="unknown")]) == {0}
