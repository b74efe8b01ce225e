"""Registers of customers as files: 16 columns and about 170 bytes a row, all computed from the row's number and a seed.

The second register is the first one a night later: one row of a hundred changed, one of a thousand gone, one of a thousand new.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

SEED: Final = 20261124
COLUMNS: Final = (
    "customer_no,email,first_name,last_name,phone,street,postcode,city,country,born,customer_since,updated,segment,"
    "newsletter,points,note"
)
_FIRST = ("Anna", "Johan", "Maria", "Erik", "Åsa", "Lars", "Karin", "Nils", "Eva", "Gustav", "Elin", "Oskar", "Sara", "Per")
_LAST = ("Andersson", "Öberg", "Karlsson", "Nilsson", "Lindqvist", "Berg", "Sandström", "Ek", "Holm", "Nyström", "Dahl")
_STREETS = ("Storgatan", "Kungsgatan", "Skolgatan", "Ringvägen", "Parkgatan", "Nygatan", "Strandvägen")
_CITIES = ("Lund", "Malmö", "Stockholm", "Göteborg", "Uppsala", "Umeå", "Örebro", "Kalmar", "Visby")
_LINES_AT_ONCE: Final = 10_000
_MIX: Final = 2_654_435_761


def row(number: int, *, night: int = 0) -> str:
    """The customer of that number as a line; on the second night one of a hundred has moved."""
    mixed = (number * _MIX + SEED) % 2**32
    first, last = _FIRST[mixed % 14], _LAST[mixed // 14 % 11]
    moved = night and number % 100 == 7
    place = mixed // 1000 + bool(moved)
    return (
        f"C{number:08},{first}.{last}.{mixed:08x}@example.com,{first},{last},+4670{mixed % 10**7:07},"
        f"{_STREETS[mixed % 7]} {mixed % 199},{10_000 + mixed % 89_999},{_CITIES[place % 9]},SE,"
        f"{1930 + mixed % 75}-{1 + mixed % 12:02}-{1 + mixed % 28:02},{2005 + mixed % 20}-0{1 + mixed % 9}-15,"
        f"{'2026-11-24T02' if moved else '2026-05-03T10'}:00:00Z,{'abcd'[mixed % 4]},{mixed % 2},{mixed % 5000},\n"
    )


def rows(count: int, *, night: int = 0) -> Iterator[str]:
    """Those of the first register, or of the one a night later."""
    yield from (row(number, night=night) for number in range(count) if not night or number % 1000 != 3)
    if night:
        yield from (row(number) for number in range(count, count + count // 1000))


def register(folder: Path, count: int, *, night: int = 0) -> Path:
    """The file, written now where it is not in ``folder`` yet."""
    file = folder / f"customers-{count}-{night}.csv"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write(file, rows(count, night=night))
    return file


def ours(folder: Path, count: int) -> Path:
    """One customer of a hundred, spread over all of them."""
    file = folder / f"ours-{count}.csv"
    if not file.exists():
        _write(file, (row(number) for number in range(0, count, 100)))
    return file


def _write(file: Path, lines: Iterator[str]) -> None:
    whole = file.with_suffix(".part")
    with whole.open("w", encoding="utf-8", newline="") as out:
        out.write(COLUMNS + "\n")
        while some := "".join(islice(lines, _LINES_AT_ONCE)):
            out.write(some)
    whole.rename(file)
