"""An erasure when the power goes: recorded writes are played back into what a disk may hold at any moment of it.

It is in force from the answer on, goes on by itself after the restart, and is never said to be complete while a byte is left.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import threading
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import pytest

from cdmd.testing import DaemonProcess
from tests.acceptance.cutting import MODES, Disk, Row, compile_recorder, moments, read_rows, write_image
from tests.acceptance.daemons import asking, daemon, install, mutant
from tests.acceptance.erased_reopening import MAIL, OTHERS
from tests.acceptance.test_erasure import CANARIES
from tests.acceptance.trial import until
from tests.sizes import size

IMAGES = size("CDMD_ERASURE_IMAGES", short=30, long=1_000)
SEED = int(os.environ.get("CDMD_SEED", "20261130"))
pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.timeout(180 + 2 * IMAGES),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="the recorder of writes is compiled with gcc"),
]
CONFIG = """
[connectors.shop]
type = "webhook"
verify = "none"
[connectors.shop.event]
id = "{id}"
type = "{type}"
identifiers = { email = "{email}", customer_no = "{customer_no}" }
traits = { name = "{name}" }
[audiences.everybody]
where = "true"
"""


class Recorded(NamedTuple):
    """The state directory before it, the calls, and when it was answered and when it was said to be complete."""

    one: DaemonProcess
    base: Path
    rows: list[Row]
    asked: float
    answered: float
    complete: float


def meet(one: DaemonProcess, name: str) -> None:
    """Joe, whom events and a dead letter are about, among others."""
    joe = {"email": MAIL, "customer_no": "canary-4711", "name": "canary-name", "type": "order.paid"}
    for number in range(OTHERS):
        one.send("/hooks/shop", {**joe, "id": f"{name}-joe{number}"})
        other = {"id": f"{name}-{number}", "type": "order.paid", "email": f"other{number}@example.com", "name": "Ann"}
        one.send("/hooks/shop", other)
    one.send("/hooks/shop", {**joe, "id": None})
    one.settle()


def record(folder: Path, *, plugins: Sequence[str] = ()) -> Recorded:
    """Erase Joe while everything that is written is recorded, and a little longer."""
    folder.mkdir()
    library, recording = compile_recorder(folder), folder / "recording"
    one = daemon(folder / "daemon", plugins=plugins, config=CONFIG)
    with one:
        meet(one, "before")
        one.stop()
    base = folder / "base"
    shutil.copytree(one.state_dir, base)
    preload = {"LD_PRELOAD": str(library), "CDMD_RECORD": str(recording), "CDMD_RECORD_BELOW": str(one.state_dir)}
    one.environment |= preload
    with one:
        meet(one, "while")
        asked = monotonic()
        asking(one).post("/v1/erasures", {"identifier": f"email:{MAIL}"})
        answered = monotonic()
        until(lambda: all(row["done"] for row in asking(one).get("/v1/erasures")), seconds=60)
        complete = monotonic()
        for number in range(20):
            one.send(
                "/hooks/shop", {"id": f"after-{number}", "type": "order.paid", "email": f"other{number % OTHERS}@example.com"}
            )
        threading.Event().wait(0.3)
        one.kill()
    for name in preload:
        del one.environment[name]
    install(one.folder / "plugins", ())
    return Recorded(one, base, read_rows(recording), asked, answered, complete)


def places(recorded: Recorded, *, count: int, chance: random.Random) -> list[int]:
    """Where to cut: as often before the answer, before it is complete and after, there at once above all."""
    times = [row.time for row in recorded.rows]
    ends = [bisect_right(times, time) for time in (recorded.asked, recorded.answered, recorded.complete, times[-1])]
    found = [ends[2] + 1] * len(MODES)
    for begin, end in pairwise(ends):
        found += [begin + place for place in moments(recorded.rows[begin:end], count=count // 3, chance=chance)]
    return sorted(found)


def held_by(image: Path) -> list[str]:
    """The files that have any of it in them, opened by nobody: looking with SQLite would mend them."""
    files = [path for path in image.rglob("*") if path.is_file()]
    return [path.name for path in files if any(one in path.read_bytes().lower() for one in CANARIES)]


def faults(recorded: Recorded, folder: Path, *, count: int) -> list[str]:
    """Cut it so often, let a sound daemon go on, and say what is wrong."""
    chance, played, found = random.Random(SEED), 0, list[str]()
    disk, cuts = Disk(recorded.base, recorded.one.state_dir), list[tuple[str, Path, float]]()
    folder.mkdir()
    for number, moment in enumerate(places(recorded, count=count, chance=chance)):
        for row in recorded.rows[played:moment]:
            disk.play(row)
        played, mode = moment, MODES[number % len(MODES)]
        image, before = folder / str(number), recorded.rows[moment - 1].time
        write_image(disk.image(mode, chance), image)
        name = f"cut {number} at row {moment} of {len(recorded.rows)} ({mode})"
        if before > recorded.complete and (left := held_by(image)):
            found.append(f"{name}: it was said to be complete, and the disk holds {left}")
        cuts.append((name, image, before))
    command = [sys.executable, "-m", "tests.acceptance.erased_reopening", str(recorded.one.config_file)]
    command += [str(image) for _, image, _ in cuts]
    ran = subprocess.run(command, capture_output=True, text=True, env=recorded.one.environment, timeout=900, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    results = [json.loads(line) for line in ran.stdout.splitlines()]
    for (name, _, before), result in zip(cuts, results, strict=True):
        found += [f"{name}: {fault}" for fault in _judged(result, answered=before > recorded.answered)]
    return found


def _judged(found: dict[str, Any], *, answered: bool) -> list[str]:
    if found["error"] is not None:
        return [f"it does not open: {found['error']}"]
    wrong = [f"damaged: {fault}" for fault in found["faults"]]
    wrong += ["it was answered and is forgotten"] if answered and not found["asked"] else []
    if found["asked"]:
        wrong += ["it is in force and the person is found"] if found["known"] or found["known again"] else []
        wrong += [] if found["complete"] else ["it is never complete"]
    for when in ("left at once", "left", "left after it"):
        wrong += [f"said to be complete, and {', '.join(found[when])} holds the person ({when})"] if found[when] else []
    return wrong + ([] if found["others"] == OTHERS else [f"only {found['others']} of {OTHERS} others are there"])


def test_an_erasure_cut_off_by_a_power_cut_goes_on_and_is_never_said_to_be_complete_too_early(tmp_path: Path) -> None:
    began = monotonic()
    recorded = record(tmp_path / "recorded")
    found = faults(recorded, tmp_path / "images", count=IMAGES)
    sys.stdout.write(f"seed {SEED}: {IMAGES} images of {len(recorded.rows)} calls, in {monotonic() - began:.1f} s\n")
    assert not found, "\n".join(found[:20])


@pytest.mark.parametrize(("name", "said"), [("report_early", "complete, and"), ("forget_asked", "is forgotten")])
def test_the_images_catch_a_daemon_that(tmp_path: Path, name: str, said: str) -> None:
    recorded = record(tmp_path / "recorded", plugins=[mutant(name)])
    found = faults(recorded, tmp_path / "images", count=12)
    sys.stdout.write(f"{name}: {len(found)} faults, such as: {found[:1]}\n")
    assert any(said in fault for fault in found), found
