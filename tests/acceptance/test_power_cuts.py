"""Promise P1 when the power goes: recorded writes are played back into what a disk may hold, and a real file system is cut."""

import os
import shutil
import sys
from pathlib import Path
from time import monotonic

import pytest

from tests.acceptance.daemons import HOLDING, mutant
from tests.acceptance.recording import judged, record
from tests.sizes import size

IMAGES = size("CDMD_IMAGES", short=60, long=10_000)
TRIES = 3
SEED = int(os.environ.get("CDMD_SEED", "20261124"))

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120 + IMAGES)]
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="the recorder of writes is compiled with gcc")


@needs_gcc
def test_no_image_of_a_power_cut_loses_an_acknowledged_event_or_renames_a_customer(tmp_path: Path) -> None:
    began = monotonic()
    recorded = record(tmp_path / "recorded", seconds=2.5, seed=SEED)
    faults = judged(recorded, tmp_path / "images", count=IMAGES, seed=SEED)
    sys.stdout.write(
        f"seed {SEED}: {IMAGES} images of {len(recorded.rows)} writes and syncs with {len(recorded.ledger.acknowledged)} "
        f"acknowledged events and {len(recorded.seen)} looks, in {monotonic() - began:.1f} s\n"
    )
    assert not faults, "\n".join(faults[:20])
    assert len(recorded.ledger.acknowledged) > 100
    assert len(recorded.seen) > 20


@needs_gcc
@pytest.mark.parametrize(
    ("name", "said", "extensions"),
    [
        ("lazy_sync", "lost", [HOLDING]),
        ("no_sync", "lost", [HOLDING]),
        # Where an extension listens every naming of people is synced, and hides that less was known to be.
        ("prune_applied", "missing", []),
        ("acknowledge_early", "lost", [HOLDING]),
        ("random_names", "another public id", []),
        ("lazy_names", "another public id", [HOLDING]),
    ],
)
def test_the_images_catch_a_daemon_that(tmp_path: Path, name: str, said: str, extensions: list[str]) -> None:
    """What an image shows of a mutant is by chance: where none does, the next recording is a longer one."""
    found = list[str]()
    for attempt in range(1, TRIES + 1):
        recorded = record(
            tmp_path / f"recorded{attempt}",
            seconds=1.2 * attempt,
            seed=SEED + attempt,
            plugins=[mutant(name)],
            extensions=extensions,
        )
        found = judged(recorded, tmp_path / f"images{attempt}", count=15 * attempt, seed=SEED + attempt)
        sys.stdout.write(f"{name}: {len(found)} faults, such as: {found[:1]}\n")
        if any(said in fault for fault in found):
            return
    pytest.fail(f"{TRIES} recordings show nothing that is {said}: {found[:3]}")
