"""What is printed and how: aligned text in a pipe, drawn tables and colour on a terminal, JSON when asked for.

Data goes to stdout and the rest to stderr. Text from outside never reaches a terminal as control characters.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import click

from cdmd.kit import measures

# Control characters, the C1 range, and what turns the direction of text or hides in it; lone surrogates cannot be written.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
_UNSAFE_IN_JSON: Final = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", ""))
_GAP: Final = 2
_FOLDED: Final = 32
"""The least breadth of a folded column before others are left out for it."""
_STYLES: Final = {
    "running": "green",
    "enabled": "green",
    "applied": "green",
    "degraded": "yellow",
    "paused": "yellow",
    "parked": "yellow",
    "starting": "cyan",
    "draining": "cyan",
    "failed": "bold red",
    "dead-letter": "bold red",
    "load error": "bold red",
    "bad config": "bold red",
}


class Table(NamedTuple):
    """Rows under headers, with a title where there are several tables.

    ``optional`` are the headers of columns that a narrow terminal does without, the first one first.
    """

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Any]]
    optional: Sequence[str] = ()


def coloured(environment: Mapping[str, str]) -> bool:
    """Whether a terminal may be sent colours (no-color.org): not where somebody said so, nor to one that knows none."""
    return not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def clean(text: str) -> str:
    """The text with every character that could move a terminal's cursor or deceive its reader written out."""
    return _UNSAFE.sub(_written_out, text)


def json_text(document: Any, *, indent: int | None = 2) -> str:
    """The document as JSON that is safe on a terminal; the same value when read again."""
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(document, ensure_ascii=False, indent=indent))


def print_json(document: Any, *, line: bool = False) -> None:
    """One JSON document on stdout, indented; on one line for a stream."""
    click.echo(json_text(document, indent=None if line else 2))


def print_pairs(pairs: Iterable[tuple[str, Any]]) -> None:
    """Names and what they are, aligned."""
    rows = [(name, cell(value)) for name, value in pairs]
    width = max((len(name) for name, _ in rows), default=0)
    for name, text in rows:
        click.echo(f"{name:<{width}}  {text}".rstrip())


def print_table(table: Table) -> None:
    """Drawn on a terminal, aligned columns elsewhere; says so on stderr when there is nothing to show."""
    if not table.rows:
        note(f"no {table.title}")
        return
    if sys.stdout.isatty():
        from rich.console import Console

        # A dumb terminal is 80 columns wide to rich, whatever it says of itself.
        width = shutil.get_terminal_size().columns
        Console(width=width, color_system="auto" if coloured(os.environ) else None).print(drawn(table, width=width))
        return
    lines = [[header.upper() for header in table.headers], *([cell(value) for value in row] for row in table.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.headers))]
    for line in lines:
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def drawn(table: Table, *, width: int) -> Any:
    """The table for ``rich`` on a terminal of ``width`` columns; cells are plain text, so that no data is taken for markup.

    Where it is too narrow, optional columns are left out, and then the widest ones are folded.
    """
    from rich.cells import cell_len
    from rich.table import Table as Drawn
    from rich.text import Text

    cells = [[cell(value) for value in row] for row in table.rows]
    widths = [max(cell_len(header), *(cell_len(row[place]) for row in cells)) for place, header in enumerate(table.headers)]
    shown = _that_fit(table, widths, width)
    breadths = _shared([widths[place] for place in shown], width - _GAP * len(shown))
    shape = Drawn(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for place, breadth in zip(shown, breadths, strict=True):
        shape.add_column(table.headers[place].upper(), width=breadth, overflow="fold")
    for row in cells:
        shape.add_row(*(Text(row[place], style=_STYLES.get(row[place], "")) for place in shown))
    return shape


def _that_fit(table: Table, widths: Sequence[int], width: int) -> list[int]:
    """The places of the columns to show: the widest may shrink to a readable breadth before any is left out."""
    shown = list(range(len(table.headers)))
    for header in table.optional:
        taken = [widths[place] for place in shown]
        folded = min(max(taken), _FOLDED)
        if sum(taken) - max(taken) + folded + _GAP * len(shown) <= width:
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


def note(text: str) -> None:
    """A remark on stderr."""
    click.echo(clean(text), err=True)


def cell(value: Any) -> str:
    """A value as one line of safe text; nothing as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return clean(value if isinstance(value, str | int) and not isinstance(value, int) else json_text(value, indent=None))


def _written_out(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]


def span(seconds: float | None) -> str:
    """A length of time in its largest fitting unit; nothing as a dash."""
    return "-" if seconds is None else measures.span(seconds)
