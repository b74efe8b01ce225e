"""Small plots as the numbers that an inline SVG is drawn from: no script, no picture file. Pure."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

POINTS: Final = 60
"""At most so many points in a plot: a minute each for the last hour."""

Series = Sequence[float | None]


class Plot(NamedTuple):
    """Lines within ``width`` x ``height``; ``paths`` are for ``<path d>``, ``top`` is the value at the upper edge.

    ``mark`` is how high an objective lies. ``words`` says in a sentence what the picture shows.
    """

    width: int
    height: int
    paths: Sequence[str]
    top: float
    mark: float | None
    minutes: float
    words: str
    latest: float | None


def rates(counter: Series, step: float) -> list[float | None]:
    """How fast a counter grew between two samples, per second; one that fell began anew."""
    return [
        None if before is None or after is None or after < before else (after - before) / step
        for before, after in pairwise(counter)
    ]


def thinned(series: Series, points: int = POINTS, *, highest: bool = False) -> list[float | None]:
    """At most ``points`` values: the mean of each group, or its ``highest``; the last group ends at the last value."""
    if not series:
        return []
    group = max(1, -(-len(series) // points))
    first = len(series) % group
    starts = ([0] if first else []) + list(range(first, len(series), group))
    ends = [*starts[1:], len(series)]
    return [
        _one([value for value in series[a:b] if value is not None], highest=highest) for a, b in zip(starts, ends, strict=True)
    ]


def recent(series: Series, samples: int = 6) -> float | None:
    """The mean of the last samples that have a value."""
    return _one([value for value in series[-samples:] if value is not None], highest=False)


def plot(
    lines: Sequence[Series], *, step: float, width: int, height: int, words: str, mark: float | None = None
) -> Plot | None:
    """The lines over the same time; None where there is nothing to draw yet."""
    known = [value for line in lines for value in line if value is not None]
    longest = max((len(line) for line in lines), default=0)
    if longest < 2 or not known:  # noqa: PLR2004 - a line needs two points
        return None
    top = max([*known, mark or 0.0]) or 1.0
    latest = next((value for value in reversed(lines[0]) if value is not None), None)
    return Plot(
        width,
        height,
        [_path(line, top=top, width=width, height=height) for line in lines],
        top,
        None if mark is None else round(_y(mark, top, height), 1),
        longest * step / 60,
        words,
        latest,
    )


def of_connector(series: Mapping[str, Any], step: float) -> Plot | None:
    """A connector's rate over the last hour, small enough for a row."""
    found = thinned(rates(series["received"], step), 40)
    return plot([found], step=step, width=96, height=20, words="")


def _path(line: Series, *, top: float, width: int, height: int) -> str:
    apart, parts, pen = width / (len(line) - 1), list[str](), "M"
    for place, value in enumerate(line):
        if value is None:
            pen = "M"
            continue
        parts.append(f"{pen}{place * apart:.1f} {_y(value, top, height):.1f}")
        pen = "L"
    return "".join(parts)


def _y(value: float, top: float, height: int) -> float:
    return height - 1 - value / top * (height - 2)


def _one(values: Sequence[float], *, highest: bool) -> float | None:
    if not values:
        return None
    return max(values) if highest else sum(values) / len(values)
