"""When to look: how late what happens is seen, beside other policies with the same number of requests, and shared budgets.

Run: python -m tests.bench.pacing [--long] [--picture FILE.svg] [--only idle|policies]. Delays are simulated; requests over a
limit are also counted by a real server, and a thousand idle pollers run in the real daemon.
"""

import random
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from heapq import heappop, heappush
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from cdmd.connectors.polling.planning import Planner, Wants
from cdmd.connectors.polling.rates import DAY
from cdmd.kit.budget import Budget
from cdmd.kit.grants import Claim, Shares
from cdmd.kit.quantities import Rate
from tests.bench import idle_pollers, rivals
from tests.bench.figures import Report, options, quantile, working_folder
from tests.bench.picture import drawn
from tests.bench.rivals import Late, Policy, late, waits
from tests.bench.traces import Trace, changelogs, debian, patterns
from tests.connectors.polling.arrivals import MONDAY, evenly

DAYS = 84.0
_STREAMS = 50
_LIMIT = Rate.parse("60/1h")
RIVALS: dict[str, Policy] = {
    "idle back-off": rivals.idle_back_off, "skipping": rivals.skipping, "AIMD": rivals.aimd, "oracle": rivals.oracle,
}  # fmt: skip


class Row(NamedTuple):
    """One trace: every policy's delays beside those of a fixed interval, as changes; None where a policy cannot be asked."""

    trace: Trace
    looks: int
    found: dict[str, Late | None]


def measured(trace: Trace) -> Row:
    """All policies on one trace, with as many looks as ours takes."""
    looks = rivals.ours(trace)
    beside = late(trace.arrivals, rivals.fixed(trace, trace.days * DAY / len(looks)))

    def change(found: Sequence[float]) -> Late:
        mine = late(trace.arrivals, found)
        return Late(mine.mean / beside.mean - 1, mine.p95 / beside.p95 - 1)

    found: dict[str, Late | None] = {"ours": change(looks)}
    for name, policy in RIVALS.items():
        asked = policy is not rivals.oracle or trace.rate is not None
        found[name] = change(rivals.calibrated(policy, trace, len(looks))) if asked else None
    return Row(trace, len(looks), found)


def mean_of(rows: Sequence[Row]) -> Row:
    """Several seeds of one pattern as one."""

    def over(name: str) -> Late | None:
        each = [one for row in rows if (one := row.found[name]) is not None]
        return Late(fmean(one.mean for one in each), fmean(one.p95 for one in each)) if each else None

    return Row(rows[0].trace, round(fmean(row.looks for row in rows)), {name: over(name) for name in rows[0].found})


def policies(report: Report, *, seeds: int) -> list[Row]:
    """The table of policies."""
    each = zip(*([measured(trace) for trace in patterns(seed, DAYS)] for seed in range(1, seeds + 1)), strict=True)
    rows = [mean_of(one) for one in each]
    files, dates = changelogs()
    real = debian(dates)
    if real is None:
        report.note(
            f"the real trace is left out: this machine has {files} changelogs with {len(dates):,} dates, too few of 2020"
        )
    else:
        report.note(f"the real trace: {len(real.arrivals):,} of {len(dates):,} dates of {files:,} changelogs in /usr/share/doc")
        rows.append(measured(real))
    report.note(
        f"mean delay (p95 in brackets) beside a fixed interval with the same number of looks; {seeds} seeds, {DAYS:g} days"
    )
    report.note(f"{'':40}" + "".join(f"{name:>16}" for name in rows[0].found) + f"{'looks/granted':>15}")
    for row in rows:
        said = "".join(f"{shown(one):>16}" for one in row.found.values())
        report.note(f"{row.trace.name:40}{said}{row.looks / (row.trace.days * DAY / rivals.MEAN):>15.3f}")
    for row in rows:
        ours = row.found["ours"]
        assert ours is not None
        report.line(
            f"{row.trace.name}: mean delay",
            100 * ours.mean,
            "%",
            at_most=None if row.trace.at_most is None else 100 * row.trace.at_most,
        )
    return rows


def shown(one: Late | None) -> str:
    return "-" if one is None else f"{100 * one.mean:+.0f} ({100 * one.p95:+.0f}) %"


class OneHost:
    """A host that allows a rate, whoever asks: the daemon's own budget, in simulated time."""

    def __init__(self, limit: Rate) -> None:
        self.budget, self.shares, self.now = Budget([limit]), Shares(), 0.0

    def plan(self, asker: str, claim: Claim) -> float:
        return self.shares.ask(asker, claim, allowed=self.budget.sustained(self.now), now=self.now)

    def ask(self, now: float) -> float:
        """``now`` where the request went through then, else when the next one may."""
        self.now = now
        at = self.budget.next_at(now)
        assert at is not None
        if at <= now:
            self.budget.begin(now)
            self.budget.answered(now, 200, {}, wall=now, chance=0.5)
        return at


def followed(arrivals: Sequence[Sequence[float]], host: OneHost, *, days: float) -> list[list[float]]:
    """When each of these streams is looked at where all share a host."""
    planners = [Planner(str(place), Wants(), budget=host) for place in range(len(arrivals))]
    waiting, looks, seen = (
        [(MONDAY + place, place) for place in range(len(arrivals))],
        [list[float]() for _ in arrivals],
        [0] * len(arrivals),
    )
    while (first := heappop(waiting))[0] < MONDAY + days * DAY:
        now, one = first
        if (at := host.ask(now)) > now:
            heappush(waiting, (at, one))
            continue
        until = bisect_right(arrivals[one], now, lo=seen[one])
        heappush(waiting, (planners[one].looked(now, arrivals=arrivals[one][seen[one] : until]).at, one))
        seen[one] = until
        looks[one].append(now)
    return looks


class Shared(NamedTuple):
    """One draw: mean delay and p95 beside an even split, most requests in any hour, arrivals and looks."""

    mean: float
    p95: float
    most: int
    arrivals: int
    looks: int


def drawn_shared(seed: int, *, days: float) -> Shared:
    """Fifty streams whose rates fall like 1/n share 60 requests an hour; what each deserves is learned."""
    seeds = [100 * seed + place + 1 for place in range(_STREAMS)]
    arrivals = [evenly(240 / (1 + place), seed=one, days=days) for place, one in enumerate(seeds)]
    looks = followed(arrivals, OneHost(_LIMIT), days=days)
    every = days * DAY * _STREAMS / sum(map(len, looks))
    ours, even = list[float](), list[float]()
    for place, found in enumerate(looks):
        begin = MONDAY + every * random.Random(seeds[place]).random()
        ours += waits(arrivals[place], found)
        even += waits(arrivals[place], [begin + every * number for number in range(int(days * DAY / every))])
    return Shared(
        _change(fmean(ours), fmean(even)),
        _change(quantile(sorted(ours), 0.95), quantile(sorted(even), 0.95)),
        most_within([at for found in looks for at in found], _LIMIT.per),
        sum(map(len, arrivals)),
        sum(map(len, looks)),
    )


def shared(report: Report, *, days: float, seeds: int) -> None:
    """The mean of several draws; each is shown."""
    found = [drawn_shared(seed, days=days) for seed in range(seeds)]
    report.note(f"{_STREAMS} streams, {found[0].arrivals:,} arrivals in {days:g} days, {found[0].looks:,} looks; {seeds} seeds")
    report.note(f"one budget for many streams, each seed: {', '.join(f'{one.mean:.1f} %' for one in found)}")
    mean, p95 = fmean(one.mean for one in found), fmean(one.p95 for one in found)
    report.line("one budget for many streams: mean delay, beside an even split", mean, "%", at_most=-25)
    report.line("the same: p95", p95, "%")
    most = max(one.most for one in found)
    report.line(f"the same: most requests in any hour, of {_LIMIT.count} allowed", most, at_most=_LIMIT.count)


def _change(mine: float, beside: float) -> float:
    return 100 * (mine / beside - 1)


def most_within(moments: Sequence[float], per: float) -> int:
    """The most of them in any stretch of that length."""
    ordered = sorted(moments)
    return max(bisect_left(ordered, at + per) - place for place, at in enumerate(ordered))


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; returns how many figures are beyond their budget."""
    parser = options("pacing", long_help="eight seeds instead of two, a longer count at the real server")
    parser.add_argument("--picture", type=Path, help="draw the policies into this SVG file")
    parser.add_argument("--only", choices=("policies", "idle"), help="only this part")
    given = parser.parse_args(arguments)
    report = Report("When to look: delays with the same number of requests")
    if given.only != "idle":
        rows = policies(report, seeds=8 if given.long else 2)
        shared(report, days=28 if given.long else 14, seeds=4 if given.long else 2)
        if given.picture is not None:
            given.picture.write_text(drawn(rows), "utf-8")
            report.note(f"drawn into {given.picture}")
    if given.only != "policies":
        with working_folder(given.folder) as folder:
            idle_pollers.measure(report, folder, seconds=20, whole=given.long)
    return report.beyond


if __name__ == "__main__":
    raise SystemExit(main())
