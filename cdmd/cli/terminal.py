"""What is printed and how: aligned text in a pipe, drawn tables and colour on a terminal, JSON when asked for.

Data goes to stdout and the rest to stderr. Text from outside never reaches a terminal as control characters.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import click

from cdmd.cli.drawing import GAP, Table, drawn
from cdmd.kit import measures

# Control characters, the C1 range, and what turns the direction of text or hides in it; lone surrogates cannot be written.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
_UNSAFE_IN_JSON: Final = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", ""))


def coloured(environment: Mapping[str, str]) -> bool:
    """Whether a terminal may be sent colours (no-color.org): not where somebody said so, nor to one that knows none."""
    return not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def clean(text: str) -> str:
    """The text with every character that could move a terminal's cursor or deceive its reader written out."""
    return text if text.isascii() and text.isprintable() else _UNSAFE.sub(_written_out, text)


def json_text(document: Any, *, indent: int | None = 2) -> str:
    """The document as JSON that is safe on a terminal; the same value when read again."""
    return escaped(json.dumps(document, ensure_ascii=False, indent=indent))


def escaped(text: str) -> str:
    """A text of JSON or TOML with what is not safe in its strings written as they write it; its line ends stay."""
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


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
    rows = [[cell(value) for value in row] for row in table.rows]
    click.echo("\n".join(drawn(table, rows, width=_columns()) if sys.stdout.isatty() else _aligned(table, rows)))


def table_lines(table: Table, *, width: int) -> list[str]:
    """The lines that draw a table on a terminal of ``width`` columns."""
    return drawn(table, [[cell(value) for value in row] for row in table.rows], width=width)


def _columns() -> int:
    """How broad the terminal is; asked only where there is one, for what it needs is slow to import."""
    from shutil import get_terminal_size

    return get_terminal_size().columns


def _aligned(table: Table, rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [[header.upper() for header in table.headers], *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shape = GAP.join(f"{{:<{width}}}" for width in widths)
    return [shape.format(*line).rstrip() for line in lines]


def note(text: str) -> None:
    """A remark on stderr."""
    click.echo(clean(text), err=True)


def cell(value: Any) -> str:
    """A value as one line of safe text; nothing as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:g}"
    return clean(value if isinstance(value, str) else json_text(value, indent=None))


def _written_out(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]


def span(seconds: float | None) -> str:
    """A length of time in its largest fitting unit; nothing as a dash."""
    return "-" if seconds is None else measures.span(seconds)
