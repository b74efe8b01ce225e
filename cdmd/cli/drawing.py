"""Tables on a terminal: which columns fit, how broad they are, what is folded, in which colour. It writes nothing.

Not ``rich``'s table: a thousand rows of a status are drawn in a tenth of the time, and nothing has to be imported for it.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import click

GAP: Final = "  "
_FOLDED: Final = 32
"""The least breadth of a folded column before others are left out for it."""
_PIECES: Final = re.compile(r"\d{4}-\d\d-\d\d(?=T\d\d:)|\S+\s*|\s+")
"""Words with what parts them from the next; a time may be folded behind its day."""
_STYLES: Final[dict[str, dict[str, Any]]] = {
    "running": {"fg": "green"},
    "enabled": {"fg": "green"},
    "applied": {"fg": "green"},
    "degraded": {"fg": "yellow"},
    "paused": {"fg": "yellow"},
    "parked": {"fg": "yellow"},
    "starting": {"fg": "cyan"},
    "draining": {"fg": "cyan"},
    "failed": {"fg": "red", "bold": True},
    "dead-letter": {"fg": "red", "bold": True},
    "load error": {"fg": "red", "bold": True},
    "bad config": {"fg": "red", "bold": True},
}


class Table(NamedTuple):
    """Rows under headers, with a title where there are several tables.

    ``optional`` are the headers of columns that a narrow terminal does without, the first one first.
    """

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Any]]
    optional: Sequence[str] = ()


def breadth(text: str) -> int:
    """How many columns of a terminal a text takes: letters of the East two, what combines with the letter before it none."""
    if text.isascii():
        return len(text)
    return sum(map(_breadth_of_one, text))


def drawn(table: Table, cells: Sequence[Sequence[str]], *, width: int) -> list[str]:
    """The lines of a table on a terminal of ``width`` columns; ``cells`` are its rows as safe text, states are coloured.

    Where it is too narrow, optional columns are left out, and then the widest ones are folded.
    """
    headers = [header.upper() for header in table.headers]
    measured = [[breadth(text) for text in row] for row in (headers, *cells)]
    widths = [max(column) for column in zip(*measured, strict=True)]
    shown = _that_fit(table, widths, width)
    breadths = _shared([widths[place] for place in shown], width - len(GAP) * len(shown))
    lines: list[str] = []
    for row, taken in zip((headers, *cells), measured, strict=True):
        if all(taken[place] <= room for place, room in zip(shown, breadths, strict=True)):
            lines.append(_line([row[place] for place in shown], [taken[place] for place in shown], breadths))
        else:
            lines += _folded([row[place] for place in shown], breadths)
    return lines


def _breadth_of_one(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in {"W", "F"} else 1


def _line(texts: Sequence[str], taken: Sequence[int], breadths: Sequence[int]) -> str:
    """One line of cells that fit: padded after their colour is chosen, with nothing after the last word."""
    parts, owed = [], 0
    for text, has, room in zip(texts, taken, breadths, strict=True):
        style = _STYLES.get(text)
        parts.append(" " * owed + (click.style(text, **style) if style else text) if text else "")
        owed = room - has + len(GAP) if text else owed + room + len(GAP)
    return "".join(parts)


def _folded(texts: Sequence[str], breadths: Sequence[int]) -> Iterator[str]:
    """The lines of a row of which some cell is broader than its column."""
    columns = [list(_pieces(text, room)) for text, room in zip(texts, breadths, strict=True)]
    for number in range(max(1, *map(len, columns))):
        row = [column[number] if number < len(column) else "" for column in columns]
        yield _line(row, [breadth(text) for text in row], breadths)


def _pieces(text: str, room: int) -> Iterator[str]:
    """A text in lines that are at most ``room`` broad, between words where that can be."""
    line = ""
    for word in _PIECES.findall(text):
        if line and breadth(line) + breadth(word.rstrip()) > room:
            yield line.rstrip()
            line = ""
        line += word
        while breadth(line.rstrip()) > room:
            cut = _cut(line, room)
            yield line[:cut]
            line = line[cut:]
    if line.rstrip() or not text:
        yield line.rstrip()


def _cut(text: str, room: int) -> int:
    """How many of its letters, one at least, fit."""
    taken = 0
    for number, letter in enumerate(text):
        taken += _breadth_of_one(letter)
        if taken > room:
            return max(1, number)
    return len(text)


def _that_fit(table: Table, widths: Sequence[int], width: int) -> list[int]:
    """The places of the columns to show: the widest may shrink to a readable breadth before any is left out."""
    shown = list(range(len(table.headers)))
    for header in table.optional:
        taken = [widths[place] for place in shown]
        folded = min(max(taken), _FOLDED)
        if sum(taken) - max(taken) + folded + len(GAP) * len(shown) <= width:
            break
        shown.remove(list(table.headers).index(header))
    return shown


def _shared(widths: Sequence[int], room: int) -> list[int]:
    """How broad each column is: as broad as it needs to be, but for the widest, which share what is left."""
    found, left = list(widths), room
    narrowest = sorted(range(len(widths)), key=lambda place: widths[place])
    for number, place in enumerate(narrowest):
        found[place] = max(1, min(widths[place], left // (len(widths) - number)))
        left -= found[place]
    return found
