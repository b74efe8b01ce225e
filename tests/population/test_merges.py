"""How well people are told from each other: precision and recall of a population with a known truth."""

from pathlib import Path

import msgspec
import pytest

from cdmd.config.schema import default_identifiers
from tests.population.measuring import Quality, in_order, measured, region
from tests.population.people import Hardness, Owners, events_of, population

pytestmark = pytest.mark.anyio

PEOPLE = 2_500
EASY = Hardness(tablet=0.0, family_address=0.0, mistyped=0.0, recycled=0.0, uses_kiosk=0.0)


async def quality(tmp_path: Path, *, addresses: int | None = None, hardness: Hardness = EASY) -> Quality:
    kinds = default_identifiers()
    if addresses is not None:
        kinds["email"] = msgspec.structs.replace(kinds["email"], limit=addresses)
    events = in_order(PEOPLE, tmp_path, seed=7, hardness=hardness)
    owner = Owners(PEOPLE, seed=7, hardness=hardness)
    return await measured(tmp_path / "store.db", events, people=PEOPLE, kinds=region(kinds), owner=owner)


async def test_where_nothing_is_shared_nobody_is_taken_for_somebody_else(tmp_path: Path) -> None:
    found = await quality(tmp_path)
    assert found.precision == 1.0, "texts that stand for nothing join nobody"
    assert found.recall > 0.88, "what only telephone numbers join is joined"
    assert found.unusable > PEOPLE / 10


async def test_with_one_address_a_person_hardly_anybody_is_taken_for_somebody_else(tmp_path: Path) -> None:
    found = await quality(tmp_path, addresses=1, hardness=Hardness())
    assert found.precision > 0.98
    assert found.recall > 0.78
    assert found.kept_apart > 0


async def test_by_the_default_rules_a_shared_device_joins_some_who_share_it(tmp_path: Path) -> None:
    found = await quality(tmp_path, hardness=Hardness())
    assert found.precision > 0.87
    assert found.recall > 0.82


def test_a_population_is_the_same_for_the_same_seed() -> None:
    first, again, other = (list(population(50, seed=seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert [list(events_of(one, seed=1)) for one in first] == [list(events_of(one, seed=1)) for one in again]
