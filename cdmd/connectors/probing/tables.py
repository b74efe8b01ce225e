"""Which dialect of CSV a text is, or which places its columns have where they are told by their width. Pure."""

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from cdmd.connectors.probing.values import looks_like_value

_DELIMITERS: Final = (";", ",", "\t", "|")
_TITLES: Final = 10
_ROWS: Final = 500
_REGULAR: Final = 0.8
_LINES: Final = 3


class Table(NamedTuple):
    """Settings beside the encoding, and what is not sure."""

    settings: Mapping[str, Any]
    doubts: Sequence[str] = ()


class _Parsed(NamedTuple):
    delimiter: str
    quote: str
    rows: list[list[str]]
    broken: bool

    @property
    def width(self) -> int:
        """How many fields most rows have."""
        return Counter(len(row) for row in self.rows if row).most_common(1)[0][0] if any(self.rows) else 0

    @property
    def regular(self) -> float:
        """How many of the rows have that many."""
        filled = [row for row in self.rows if row]
        return sum(len(row) == self.width for row in filled) / max(1, len(filled))

    @property
    def titles(self) -> int:
        """How many rows stand before the first one of that many fields."""
        return next((place for place, row in enumerate(self.rows) if len(row) == self.width), len(self.rows))


def delimited(text: str, *, whole: bool) -> Table | None:
    """The dialect of a text that begins so (it is all of it where ``whole``); None where no sign divides it into columns."""
    if not whole:
        text = text[: text.rfind("\n") + 1] or text
    found = [one for sign in _DELIMITERS for quote in _quotes(text, sign) if (one := _parsed(text, sign, quote)).width > 1]
    fitting = [one for one in found if one.regular >= _REGULAR and one.titles <= _TITLES]
    if not fitting:
        return None
    best = max(fitting, key=lambda one: (not one.broken, one.titles == 0, round(one.regular, 1), one.width))
    return _described(best, whole=whole)


def one_column(text: str) -> Table:
    """A text of lines, each one value."""
    lines = [line for line in text.splitlines() if line.strip()]
    return Table({"columns": ["value"]} if lines and looks_like_value(lines[0]) else {})


def fixed(text: str, *, whole: bool) -> Table | None:
    """The columns of lines whose values stand below each other; None where they do not."""
    lines = [line for line in text.splitlines() if line.strip()]
    lines = lines if whole or len(lines) <= _LINES else lines[:-1]
    starts = _starts(lines)
    if len(lines) < _LINES or len(starts) < 2:  # noqa: PLR2004 - one column is none
        return None
    ends = [*starts[1:], max(map(len, lines))]
    cells = [[line[start:end].strip() for start, end in zip(starts, ends, strict=True)] for line in lines]
    headed = not any(map(looks_like_value, cells[0])) and any(map(looks_like_value, cells[1])) and all(cells[0])
    if not _regular(lines) and not any(all(map(looks_like_value, column)) for column in zip(*cells[headed:], strict=True)):
        return None
    names = _unique(cells[0]) if headed else [f"column_{place}" for place in range(1, len(starts) + 1)]
    columns = [
        {"name": name, "start": start + 1, "length": end - start} for name, start, end in zip(names, starts, ends, strict=True)
    ]
    return Table(
        {"columns": columns, **({"skip": 1} if headed else {})},
        ["the columns are told by blanks that stand below each other: compare them with the supplier's description"],
    )


def _regular(lines: Sequence[str]) -> bool:
    """Whether most lines have the same length."""
    return Counter(map(len, lines)).most_common(1)[0][1] >= len(lines) * _REGULAR


def _quotes(text: str, sign: str) -> list[str]:
    """Signs that may stand around fields, the likeliest first."""
    single = re.findall(rf"(?:^|{re.escape(sign)})'[^'\n]*'(?={re.escape(sign)}|\r?$)", text, re.MULTILINE)
    return ["'", '"', ""] if len(single) > text.count("\n") else ['"', ""]


def _parsed(text: str, delimiter: str, quote: str) -> _Parsed:
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, quotechar=quote or None, quoting=quoting, strict=True
    )
    rows: list[list[str]] = []
    try:
        for row in reader:
            rows.append(row)
            if len(rows) == _ROWS:
                break
    except csv.Error:
        return _Parsed(delimiter, quote, rows, broken=True)
    return _Parsed(delimiter, quote, rows, broken=False)


def _described(one: _Parsed, *, whole: bool) -> Table:
    settings: dict[str, Any] = {} if one.delimiter == "," else {"delimiter": one.delimiter}
    doubts = []
    if one.quote != '"' and (one.quote or any('"' in cell for row in one.rows for cell in row)):
        settings["quote"] = one.quote
    header, skip = one.rows[one.titles], one.titles
    names = _stripped(header)
    if any(looks_like_value(name) for name in names):
        settings["columns"] = [f"column_{place}" for place in range(1, len(names) + 1)]
        doubts.append("the file seems to have no header: give the columns their names in `columns`")
    elif len(set(names)) < len(names) or not all(names):
        settings["columns"], skip = _unique(names), skip + 1
        doubts.append("the header names a column twice or not at all: the columns are named in `columns`")
    if skip:
        settings["skip"] = skip
    return _trailed(one, settings, doubts) if whole else Table(settings, doubts)


def _trailed(one: _Parsed, settings: dict[str, Any], doubts: list[str]) -> Table:
    """A last row that is unlike the others and counts them is a trailer."""
    headed = "columns" not in settings or settings.get("skip", 0) > one.titles
    filled = [row for row in one.rows[one.titles + headed :] if any(cell.strip() for cell in row)]
    last, records = (filled or one.rows)[-1], len(filled) - 1
    if len(one.rows) == _ROWS or not last or not last[0].strip():
        return Table(settings, doubts)
    short = len(last) < one.width
    word = last[0].strip().isalpha() and all(looks_like_value(row[0]) for row in filled[:-1])
    if (short or word) and any(cell.strip() == str(records) for cell in last[1:]):
        return Table({**settings, "trailer": last[0]}, doubts)
    return Table(settings, [*doubts, "the last line has fewer fields than the others: it is set aside"] if short else doubts)


def _stripped(header: Sequence[str]) -> list[str]:
    names = [name.strip() for name in header]
    while names and not names[-1]:
        names.pop()
    return names


def _unique(names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for place, name in enumerate(names, 1):
        plain = name or f"column_{place}"
        number = 2
        unique = plain
        while unique in found:
            unique, number = f"{plain}_{number}", number + 1
        found.append(unique)
    return found


def _starts(lines: Sequence[str]) -> list[int]:
    """Where columns begin: after places that are blank in every line."""
    width = max(map(len, lines), default=0)
    blank = [all(line[place : place + 1] in {"", " "} for line in lines) for place in range(width)]
    return [place for place in range(width) if not blank[place] and (place == 0 or blank[place - 1])]
