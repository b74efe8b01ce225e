"""Durations, sizes and rates as they are written in the configuration: one integer and one unit.

``"5m"`` is five minutes, ``"1MiB"`` is 2**20 bytes, ``"100/10s"`` is a hundred in ten seconds. Not for: dates.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from typing_extensions import override

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_BYTES: Final = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_N = TypeVar("_N", int, float)


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A length of time; ``seconds`` is a float."""

    seconds: float
    text: str = ""

    @classmethod
    def parse(cls, text: str) -> "Duration":
        """Read ``"90s"``; raises ValueError with the units that exist."""
        number, factor = _split(text, _SECONDS, what="a duration", example="30s")
        return cls(number * factor, text)

    @property
    def micros(self) -> int:
        """The same in microseconds."""
        return round(self.seconds * 1_000_000)

    @override
    def __str__(self) -> str:
        return self.text or f"{self.seconds:g}s"


@dataclass(frozen=True, slots=True, order=True)
class Size:
    """A number of bytes."""

    bytes: int
    text: str = ""

    @classmethod
    def parse(cls, text: str) -> "Size":
        """Read ``"64MiB"``; raises ValueError with the units that exist."""
        number, factor = _split(text, _BYTES, what="a size", example="64MiB")
        return cls(number * factor, text)

    @override
    def __str__(self) -> str:
        return self.text or f"{self.bytes}B"


@dataclass(frozen=True, slots=True)
class Rate:
    """``count`` in every ``per`` seconds."""

    count: int
    per: float
    text: str = ""

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Read ``"100/10s"``; raises ValueError otherwise."""
        count, slash, per = text.partition("/")
        if not slash or not count.isascii() or not count.isdigit() or int(count) < 1:
            raise ValueError(f'{text!r} is not a rate: write COUNT/DURATION, for example "100/10s"')
        return cls(int(count), Duration.parse(per).seconds, text)

    @override
    def __str__(self) -> str:
        return self.text or f"{self.count}/{self.per:g}s"


def spoken(seconds: float) -> str:
    """A length of time for people, in the largest unit of which there are two: ``"12.5m"``."""
    unit = max((name for name, size in _SECONDS.items() if seconds >= 2 * size), key=_SECONDS.__getitem__, default="ms")
    return f"{seconds / _SECONDS[unit]:.3g}{unit}"


def _split(text: str, units: Mapping[str, _N], *, what: str, example: str) -> tuple[int, _N]:
    match = re.fullmatch(r"([0-9]{1,15})([A-Za-z]+)", text)
    if match is None or match[2] not in units:
        raise ValueError(f'{text!r} is not {what}: write one integer and one of {", ".join(units)}, for example "{example}"')
    return int(match[1]), units[match[2]]
