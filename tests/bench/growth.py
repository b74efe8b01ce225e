"""What an event costs in a store of few profiles and in one of many, with every profile as likely as any other.

Decision and ``Store.apply`` with nothing around them: uniform access is the worst case, real traffic comes back to the same
people. Run: python -m tests.bench.growth [--long] [--audiences] [--folder FOLDER].
"""

import random
import time
from pathlib import Path

import anyio

from cdmd.cli.daemon_run import tune_interpreter
from cdmd.models import Seq
from cdmd.store.files import StateDirectory
from tests.bench.figures import Report, options, working_folder
from tests.bench.prepared import copied, decision, event, open_in, rules

BATCH = 2_000


async def cost(folder: Path, profiles: int, batches: int, rich: bool) -> tuple[float, float]:
    """CPU µs of an event, deciding included, and events a second."""
    rng, first = random.Random(3), 1
    with StateDirectory(folder).held():
        async with open_in(folder) as opened:
            made, used, took = rules(opened, rich=rich), 0.0, 0.0
            for number in range(batches + 1):
                numbers = range(first, first + BATCH)
                first += BATCH
                events = [(Seq(n), event(n, rng.randrange(profiles), "new", rich=rich)) for n in numbers]
                cpu, wall = time.process_time(), time.perf_counter()
                decided = decision(opened, made, events, position=None)
                await opened.store.apply(decided.wanted, decided)
                if number:  # the first one warms up
                    used, took = used + time.process_time() - cpu, took + time.perf_counter() - wall
            return used / batches / BATCH * 1e6, batches * BATCH / took


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns how many figures are beyond their budget."""
    parser = options("growth", long_help="10,000 against 1,000,000 profiles instead of 5,000 against 50,000")
    parser.add_argument("--audiences", action="store_true", help="3 identifiers, 5 indicators (2 windowed) and 3 audiences")
    given = parser.parse_args(arguments)
    few, many, batches = (10_000, 1_000_000, 20) if given.long else (5_000, 50_000, 5)
    report = Report(f"Cost per event with growing profiles (batches of {BATCH}, uniform access)")
    tune_interpreter()
    found = {}
    with working_folder(given.folder) as folder:
        for profiles in (few, many):
            state = copied(given.folder or folder, profiles, folder / f"growth-{profiles}", rich=given.audiences)
            found[profiles] = anyio.run(cost, state, profiles, batches, given.audiences)
            report.note(
                f"{profiles:>9,} profiles: {found[profiles][0]:5.1f} µs CPU an event, {found[profiles][1]:,.0f} events/s"
            )
    report.line("cost per event, many to few", found[many][0] / found[few][0], at_most=4)
    return report.beyond


if __name__ == "__main__":
    raise SystemExit(main())
