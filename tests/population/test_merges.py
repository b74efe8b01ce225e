"""How well people are told from each other: precision and recall of a population with a known truth."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from cdmd.config.schema import IdentifierSettings, default_identifiers
from tests.population.measuring import Quality, attainable, in_order, measured, region
from tests.population.people import HARD, Hardness, Owners, events_of, population

pytestmark = pytest.mark.anyio

PEOPLE = 2_500
EASY = Hardness(tablet=0.0, family_address=0.0, mistyped=0.0, recycled=0.0, uses_kiosk=0.0)
DEVICES_JOIN = {"anonymous_id": msgspec.structs.replace(default_identifiers()["anonymous_id"], shared=False)}


async def quality(
    tmp_path: Path, *, changed: Mapping[str, IdentifierSettings] = {}, hardness: Hardness = HARD
) -> tuple[Quality, float]:
    """What came out, and the recall of who is joined by what is said of them and by nothing else."""
    events = in_order(PEOPLE, tmp_path, seed=7, hardness=hardness)
    owner = Owners(PEOPLE, seed=7, hardness=hardness)
    kinds = region({**default_identifiers(), **changed})
    found = await measured(tmp_path / "store.db", events, people=PEOPLE, kinds=kinds, owner=owner)
    return found, attainable(PEOPLE, seed=7, owner=owner, hardness=hardness)


@pytest.mark.no_cover
async def test_where_nothing_is_shared_nobody_is_taken_for_somebody_else_and_all_is_joined(tmp_path: Path) -> None:
    found, best = await quality(tmp_path, hardness=EASY)
    assert found.precision == 1.0, "texts that stand for nothing join nobody"
    assert found.recall >= max(0.803, best * 0.98), "what only telephone numbers join is joined"
    assert found.unusable > PEOPLE / 10


@pytest.mark.no_cover
async def test_by_the_default_rules_a_shared_device_takes_hardly_anybody_for_somebody_else(tmp_path: Path) -> None:
    found, best = await quality(tmp_path)
    assert found.precision > 0.96
    assert found.recall > best * 0.975
    assert found.kept_apart > 0


@pytest.mark.no_cover
async def test_where_devices_join_whoever_uses_them_one_pair_in_ten_is_wrong(tmp_path: Path) -> None:
    found, best = await quality(tmp_path, changed=DEVICES_JOIN)
    assert found.precision < 0.92
    assert found.recall > best


def test_a_population_is_the_same_for_the_same_seed() -> None:
    first, again, other = (list(population(50, seed=seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert [list(events_of(one, seed=1)) for one in first] == [list(events_of(one, seed=1)) for one in again]
