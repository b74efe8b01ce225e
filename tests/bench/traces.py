"""Arrivals to pace by: five seeded patterns whose rate is known, and the dates of Debian changelogs on this machine."""

import gzip
import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple

from cdmd.connectors.polling.rates import DAY, hour
from tests.connectors.polling.arrivals import MONDAY, evenly, in_bursts, in_office_hours, like_the_sun

DOCUMENTS = Path("/usr/share/doc")
_SIGNED = re.compile(rb"^ -- [^<]*<[^>]*>  (.+)$", re.MULTILINE)
_NAMED = re.compile(rb"^(\S+) \(([^)]+)\)", re.MULTILINE)


class Trace(NamedTuple):
    """Arrivals from ``begin`` on for so many days; ``rate`` (per second) where it is known whatever arrived before."""

    name: str
    arrivals: Sequence[float]
    days: float
    begin: float = MONDAY
    rate: Callable[[float], float] | None = None
    at_most: float | None = None


def patterns(seed: int, days: float) -> list[Trace]:
    """The five of them; ``at_most`` is what DESIGN.md asks of the mean delay beside that of a fixed interval."""
    mean, working = 20 / DAY, 20 / DAY * 168 / 50
    return [
        Trace("Poisson, 20 a day", evenly(20, seed=seed, days=days), days, rate=lambda _: mean, at_most=0.05),
        Trace(
            "sinusoid over the day", like_the_sun(20, seed=seed, days=days), days,
            rate=lambda at: mean * (1 + math.sin(2 * math.pi * at / DAY)), at_most=-0.08,
        ),
        Trace(
            "office hours, Mon-Fri 8-18", in_office_hours(20, seed=seed, days=days), days,
            rate=lambda at: working if hour(at) < 120 and 8 <= hour(at) % 24 < 18 else 0.0, at_most=-0.30,
        ),
        Trace("bursts, 2 a day of 20, 2 min apart", in_bursts(2, size=20, gap=120, seed=seed, days=days), days, at_most=-0.30),
        Trace("slow bursts, 1 in 2 days of 10, 20 min", in_bursts(0.5, size=10, gap=1200, seed=seed, days=days), days),
    ]  # fmt: skip


def changelogs() -> tuple[int, list[float]]:
    """How many changelogs there are, and when their entries were written, each entry of a source package once."""
    files, entries = 0, dict[tuple[bytes, bytes], float]()
    for file in sorted(DOCUMENTS.glob("*/changelog*.gz")):
        try:
            text = gzip.decompress(file.read_bytes())
        except (OSError, EOFError, gzip.BadGzipFile):
            continue
        dates = _SIGNED.findall(text)
        files += bool(dates)
        for named, written in zip(_NAMED.findall(text), dates, strict=False):
            if (at := _moment(written)) is not None:
                entries[named] = at
    return files, sorted(entries.values())


def debian(dates: Sequence[float], days: float = 364) -> Trace | None:
    """The year from the first Monday of 2020 on; None where this machine has too little of it."""
    begin = datetime(2020, 1, 6, tzinfo=UTC).timestamp()
    found = [at for at in dates if begin <= at < begin + days * DAY]
    return Trace("Debian changelogs, 2020", found, days, begin, at_most=0.05) if len(found) >= 100 else None


def _moment(written: bytes) -> float | None:
    try:
        return parsedate_to_datetime(written.decode("ascii", "replace").strip()).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
