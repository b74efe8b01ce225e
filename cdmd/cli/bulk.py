"""Many at once: what a command would do to what a filter finds, and how far it is while it does it."""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import click

from cdmd.cli.drawing import Table
from cdmd.cli.terminal import note, print_json, print_table

MOST: Final = 10_000
"""How many rows a list has at the most; what is beyond is not counted by a dry run."""

STEP: Final = 1_000
_F = TypeVar("_F", bound=Callable[..., Any])


def rehearses(command: _F) -> _F:
    """Give a command ``--dry-run``."""
    return click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")(command)


class Found(NamedTuple):
    """What a command is about. ``more``: there may be others, for which the list had no room."""

    rows: Sequence[Mapping[str, Any]]
    more: bool


def among(listed: Sequence[Mapping[str, Any]], wanted: Callable[[Mapping[str, Any]], bool]) -> Found:
    """Those of a list that are wanted."""
    return Found([row for row in listed if wanted(row)], len(listed) >= MOST)


def would(verb: str, found: Found, *, what: str, by: Sequence[str], as_json: bool) -> None:
    """What ``verb`` would be done to: the number of rows, and of each group of them that is alike in ``by``."""
    rows, more = found
    groups = Counter(tuple(row[name] for name in by) for row in rows).most_common()
    counted = [{**dict(zip(by, values, strict=True)), "count": count} for values, count in groups]
    if as_json:
        print_json({"would": verb, "count": len(rows), "more": more, "groups": counted})
        return
    print_table(Table(what, (*by, "count"), [[*values, count] for values, count in groups]))
    least = "at least " if more else ""
    note(f"{least}{len(rows)} {what} would be {verb}; nothing was done")


def in_steps(ask: Callable[[Mapping[str, Any]], Mapping[str, Any]], *, there: int, as_json: bool) -> Mapping[str, Any]:
    """Do it, and say on a terminal how far it is: ``ask`` does some of it and answers how many (``STEP`` at the most).

    ``there`` are all that there are: what comes straight back does not keep it going for ever.
    """
    if as_json or not sys.stderr.isatty() or there <= STEP:
        return ask({})
    answer, done = dict[str, Any](), 0
    for _ in range(there // STEP + 1):
        answer = dict(ask({"most": STEP}))
        done += answer["count"]
        click.echo(f"\r{done} {answer['done']}", nl=False, err=True)
        if answer["count"] < STEP:
            break
    click.echo("\r", nl=False, err=True)
    return {**answer, "count": done}
