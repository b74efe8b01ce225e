"""How the demo tells its story: a heading for each scene, aligned facts below; colour on a terminal only."""

import sys
from collections.abc import Iterable
from typing import Any, Final

import click

from cdmd.cli.terminal import clean
from cdmd.kit.measures import several

_WIDTH: Final = 15
_SECOND: Final = 1.0


class Telling:
    """Writes to stdout; ``colour`` says whether headings may be bold."""

    def __init__(self, *, colour: bool) -> None:
        self._colour, self._scenes = colour, 0

    @classmethod
    def for_terminal(cls, environment: Iterable[str]) -> "Telling":
        """Colour where somebody looks at it and did not say NO_COLOR (no-color.org)."""
        return cls(colour=sys.stdout.isatty() and "NO_COLOR" not in environment)

    def scene(self, text: str) -> None:
        """A new scene."""
        self._scenes += 1
        self._line(f"\n{self._scenes}  {text}", bold=True)

    def heading(self, text: str) -> None:
        """A heading without a number."""
        self._line(f"\n{text}", bold=True)

    def fact(self, name: str, text: str) -> None:
        """One fact of the scene."""
        label = f"   {name:<{_WIDTH}} "
        self._line((click.style(label, dim=True) if self._colour else label) + clean(text))

    def taken(self, seconds: float) -> None:
        """How a delivery was answered."""
        self.fact("answered", f"200 after {took(seconds)}: it is on the disk, synced")

    def known(self, name: str, customer: Any) -> None:
        """Who Joe is by now."""
        self.fact(name, customer_line(customer))

    def good(self, text: str) -> None:
        """How it ended, well."""
        self._line(f"\n{text}", fg="green", bold=True)

    def bad(self, text: str) -> None:
        """How it ended, badly; on stderr."""
        click.echo(clean(text), err=True)

    def _line(self, text: str, **style: Any) -> None:
        click.echo(click.style(text, **style) if self._colour and style else text, color=self._colour)
        sys.stdout.flush()


def customer_line(customer: Any) -> str:
    """Who somebody is, in one line: identifiers, then what is computed."""
    if customer is None:
        return "nobody"
    known = ", ".join(f"{one['kind']} {one['value']}" for one in customer["identifiers"])
    hours = customer["indicators"].get("tv_hours")
    more = "" if hours is None else f"; television: {hours:,.0f} hours"
    return f"one customer: {known}{more}; {several(len(customer['activities']), 'events')}"


def took(seconds: float) -> str:
    """A short time as somebody would say it."""
    return f"{seconds * 1000:.0f} ms" if seconds < _SECOND else f"{seconds:.1f} s"
