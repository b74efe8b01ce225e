"""What the store's writer is held up for when two customers with 10,000 activities each turn out to be one.

Three identifiers, five indicators of which two have a window, three audiences; the decision and ``Store.apply`` of the one
event that carries both of their identifiers, beside one of the same store that joins nobody.
Run: python -m tests.bench.merging [--long] [--folder FOLDER].
"""

import statistics
import time
from pathlib import Path

import anyio
import msgspec

from cdmd.cli.daemon_run import tune_interpreter
from cdmd.models import Event, Seq
from cdmd.store.files import StateDirectory
from cdmd.store.opening import Opened
from tests.bench.figures import Report, options, working_folder
from tests.bench.prepared import decision, event, open_in, rules

EACH = 10_000
_BATCH = 5_000


def _half(number: int, customer: int, kinds: tuple[str, ...]) -> Event:
    """An order by somebody who says only some of the identifiers."""
    whole = event(number, customer, "merging", rich=True)
    return msgspec.structs.replace(whole, identifiers={kind: whole.identifiers[kind] for kind in kinds})


async def _take(opened: Opened, events: list[Event], first: int) -> float:
    """Decide and write these, the first of which is at ``first``; seconds from asking for the writer to its answer."""
    made = decision(opened, rules(opened, rich=True), list(enumerate(events, first)), position=None)  # type: ignore[arg-type]
    began = time.perf_counter()
    changes = await opened.store.apply(made.wanted, made)
    took = time.perf_counter() - began
    assert len(changes.activities) == len(events)
    return took


async def measured(folder: Path, pairs: int) -> tuple[list[float], list[float]]:
    """Seconds of each merge, and of as many events that join nobody."""
    joining, others, seq = [], [], 1
    with StateDirectory(folder).held():
        async with open_in(folder) as opened:
            for pair in range(pairs):
                for kinds in (("email",), ("customer_no", "user_id")):
                    for _ in range(0, EACH, _BATCH):
                        await _take(opened, [_half(n, pair, kinds) for n in range(seq, seq + _BATCH)], seq)
                        seq += _BATCH
            await opened.store.sync()
            for pair in range(pairs):
                others.append(await _take(opened, [_half(seq, pair, ("email",))], seq))
                joining.append(await _take(opened, [event(seq + 1, pair, "merging", rich=True)], seq + 1))
                seq += 2
            found = await opened.store.profile("email", "joe0@example.com", activities=1)
            assert found is not None
            assert len(found.merges) == 1
            assert Seq(found.activities[0].seq) < seq
    return joining, others


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns how many figures are beyond their budget."""
    given = options("merging", long_help="20 merges instead of 3").parse_args(arguments)
    report = Report(f"Two customers with {EACH:,} activities each become one")
    tune_interpreter()
    with working_folder(given.folder) as folder:
        (folder / "state").mkdir(mode=0o700)
        joining, others = anyio.run(measured, folder / "state", 20 if given.long else 3)
    report.note(f"an event that joins nobody: {statistics.median(others) * 1e3:.1f} ms")
    report.line("a merge holds the writer up, at most", max(joining) * 1e3, "ms", at_most=50)
    return report.beyond


if __name__ == "__main__":
    raise SystemExit(main())
