"""Records a loaded daemon: what it wrote, what it acknowledged, and which public ids could be seen meanwhile."""

import json
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from cdmd.errors import NotFound
from cdmd.testing import DaemonProcess
from tests.acceptance.cutting import MODES, Disk, Row, compile_recorder, moments, read_rows, write_image
from tests.acceptance.daemons import HOLDING, asking, daemon, install
from tests.acceptance.senders import Ledger, Load
from tests.acceptance.workload import CONFIG, Order

HURRYING = "tests.acceptance.hurrying"
HURRIED = CONFIG + '[journal]\nreserve = "1MiB"\nkeep = "1s"\n'
_SHOWN = 25


class Visible(threading.Thread):
    """Looks customers up as fast as it can; ``seen`` are (monotonic seconds, customer, public id)."""

    def __init__(self, one: DaemonProcess, ledger: Ledger) -> None:
        super().__init__(daemon=True)
        self._client, self._ledger, self._chance = asking(one), ledger, random.Random(1)
        self.seen: list[tuple[float, int, str]] = []
        self.ended = threading.Event()

    def run(self) -> None:
        """Until told to end."""
        while not self.ended.wait(0.004):
            newest = len(self._ledger.acknowledged) // 5
            customer = max(0, newest - self._chance.randint(0, 12))
            try:
                profile = self._client.get("/v1/profile", {"identifier": f"customer_no:c{customer}", "activities": 0})
            except NotFound:
                continue
            self.seen.append((monotonic(), customer, profile["id"]))


class Recorded(NamedTuple):
    """One recording: the state directory before it, the calls, what was promised and what was seen."""

    one: DaemonProcess
    base: Path
    rows: list[Row]
    ledger: Ledger
    seen: list[tuple[float, int, str]]


class Cut(NamedTuple):
    """One image of a power cut, and what must be true of it."""

    name: str
    image: Path
    promised: list[Order]
    public: dict[int, str]


def record(
    folder: Path, *, seconds: float, seed: int, plugins: Sequence[str] = (), extensions: Sequence[str] = (HOLDING,)
) -> Recorded:
    """Load a daemon for so long and kill it; what opens its state directory afterwards is sound."""
    folder.mkdir()
    library, recording = compile_recorder(folder), folder / "recording"
    one = daemon(folder / "daemon", plugins=[*extensions, HURRYING, *plugins], config=HURRIED)
    one.start()
    one.stop()
    base, ledger = folder / "base", Ledger(fresh=True)
    shutil.copytree(one.state_dir, base)
    preload = {"LD_PRELOAD": str(library), "CDMD_RECORD": str(recording), "CDMD_RECORD_BELOW": str(one.state_dir)}
    one.environment |= preload
    with Load(ledger, seed=seed, pause=0.002) as load, one:
        load.to(one.url)
        visible = Visible(one, ledger)
        visible.start()
        threading.Event().wait(seconds)
        visible.ended.set()
        visible.join(10)
        one.kill()
        load.hold()
    for name in preload:
        del one.environment[name]
    install(one.folder / "plugins", extensions)
    return Recorded(one, base, read_rows(recording), ledger, visible.seen)


def cut(recorded: Recorded, folder: Path, *, count: int, seed: int) -> list[Cut]:
    """So many images, in the three modes in turn."""
    chance, cuts, played = random.Random(seed), list[Cut](), 0
    disk = Disk(recorded.base, recorded.one.state_dir)
    folder.mkdir()
    for number, moment in enumerate(moments(recorded.rows, count=count, chance=chance)):
        for row in recorded.rows[played:moment]:
            disk.play(row)
        played, mode = moment, MODES[number % len(MODES)]
        image, before = folder / str(number), recorded.rows[moment - 1].time
        write_image(disk.image(mode, chance), image)
        public = {customer: id_ for time, customer, id_ in recorded.seen if time < before}
        shown = dict(list(public.items())[-_SHOWN:])
        cuts.append(Cut(f"cut {number} at row {moment} ({mode})", image, recorded.ledger.promised(before=before), shown))
    return cuts


def reopen(one: DaemonProcess, cuts: Sequence[Cut]) -> list[dict[str, Any]]:
    """What a sound daemon makes of each image; what an extension held while it was recorded is answered at once now."""
    arguments = [f"{cut.image}={','.join(map(str, cut.public))}" for cut in cuts]
    command = [sys.executable, "-m", "tests.acceptance.reopening", str(one.config_file), *arguments]
    environment = one.environment | {"CDMD_HOLDS_NOTHING": "yes"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return [json.loads(line) for line in ran.stdout.splitlines()]


def judge(cut: Cut, found: dict[str, Any]) -> list[str]:
    """What is wrong with what came out of an image."""
    if found["error"] is not None:
        return [f"{cut.name}: it does not open: {found['error']}"]
    if found["faults"]:
        return [f"{cut.name}: {fault}" for fault in found["faults"]]
    faults, activities = list[str](), found["activities"]
    there = {**found["journal"], **activities, **found["dead"], **found["parked"]}
    gone = [order.id for order in cut.promised if order.kept and order.type != "order.dropped" and order.id not in there]
    faults += [f"{cut.name}: {len(gone)} acknowledged events are lost: {gone[:3]}"] if gone else []
    settled = {**activities, **found["parked"]}
    unapplied = [order.id for order in cut.promised if order.applied and order.id not in settled]
    faults += [f"{cut.name}: {len(unapplied)} acknowledged events are not applied: {unapplied[:3]}"] if unapplied else []
    double = [id_ for id_, number in activities.items() if number != 1]
    faults += [f"{cut.name}: {len(double)} events have a double effect: {double[:3]}"] if double else []
    other = [customer for customer, id_ in cut.public.items() if found["public"][str(customer)] != id_]
    return faults + ([f"{cut.name}: customers {other[:3]} have another public id than was shown"] if other else [])


def judged(recorded: Recorded, folder: Path, *, count: int, seed: int) -> list[str]:
    """Cut, reopen and judge."""
    cuts = cut(recorded, folder, count=count, seed=seed)
    results = reopen(recorded.one, cuts)
    return [fault for one, found in zip(cuts, results, strict=True) for fault in judge(one, found)]
