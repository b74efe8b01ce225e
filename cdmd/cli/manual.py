"""Manual pages, made from what the commands say of themselves: ``python -m cdmd.cli.manual FOLDER`` writes cdmd.8 and cdmctl.1.

The format is man(7): a line that begins with a dot is an instruction, everything else is text whose backslashes and leading
dots are masked.
"""

import inspect
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import click

from cdmd import __version__
from cdmd.cli.control_commands import cli as cdmctl
from cdmd.cli.daemon_commands import cli as cdmd
from cdmd.cli.running import exit_statuses

_MARK: Final = "\b\n"
"""Before a paragraph of help whose lines stay as they are."""

_VARIABLES: Final = (
    ("CDMD_CONFIG", "The configuration file, where --config does not name one; else /etc/cdmd/cdmd.toml."),
    ("CDMD_SOCKET", "The control socket, where --socket does not name one."),
    (
        "STATE_DIRECTORY, RUNTIME_DIRECTORY, CREDENTIALS_DIRECTORY",
        "Set by systemd: where things are.",
    ),
    ("NO_COLOR", "No colour, even on a terminal."),
)
_FILES: Final = (
    ("/etc/cdmd/cdmd.toml, /etc/cdmd/conf.d/*.toml", "The configuration."),
    ("/var/lib/cdmd", "The state of the service."),
    ("/run/cdmd/control.sock", "The control socket of the service."),
)


class Page(NamedTuple):
    """A manual page: the command, its section, and the page to see also."""

    command: click.Group
    name: str
    section: int
    also: str


PAGES: Final = (Page(cdmd, "cdmd", 8, "cdmctl(1)"), Page(cdmctl, "cdmctl", 1, "cdmd(8)"))


def write(folder: Path) -> list[Path]:
    """Write both pages into ``folder``, which is made; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for page in PAGES:
        file = folder / f"{page.name}.{page.section}"
        file.write_text(render(page), "utf-8")
        found.append(file)
    return found


def render(page: Page) -> str:
    """The page in man(7)."""
    ctx = click.Context(page.command, info_name=page.name, **page.command.context_settings)
    summary, body = _parts(page.command)
    lines = [
        f'.TH {page.name.upper()} {page.section} "" "cdmd {__version__}" "cdmd"',
        ".SH NAME",
        f"{page.name} \\- {_text(summary.rstrip('.'))}",
        ".SH SYNOPSIS",
        *_usage(ctx),
        *(line for line in (".SH DESCRIPTION", *_paragraphs(body)) if body),
        ".SH OPTIONS",
        *_options(ctx),
        ".SH COMMANDS",
        *(line for found in _commands(ctx) for line in _command(found)),
        ".SH EXIT STATUS",
        *_pairs((str(status), f"{meaning[0].upper()}{meaning[1:]}.") for status, meaning in exit_statuses()),
        ".SH ENVIRONMENT",
        *_pairs(_VARIABLES),
        ".SH FILES",
        *_pairs(_FILES),
        ".SH SEE ALSO",
        _text(page.also),
    ]
    return "\n".join(lines) + "\n"


def _commands(ctx: click.Context) -> Iterator[click.Context]:
    """The contexts of all commands below, groups before what is in them."""
    group = ctx.command
    if isinstance(group, click.Group):
        for name in group.list_commands(ctx):
            found = group.get_command(ctx, name)
            if found is not None and not found.hidden:
                below = click.Context(found, info_name=name, parent=ctx)
                yield below
                yield from _commands(below)


def _command(ctx: click.Context) -> list[str]:
    summary, body = _parts(ctx.command)
    epilog = ctx.command.epilog or ""
    return [f".SS {_text(ctx.command_path)}", *_usage(ctx), *_paragraphs(f"{summary}\n\n{body}\n\n{epilog}"), *_options(ctx)]


def _usage(ctx: click.Context) -> list[str]:
    return [f".B {_text(ctx.command_path)}", *(_text(part) for part in ctx.command.collect_usage_pieces(ctx)), ".PP"]


def _options(ctx: click.Context) -> list[str]:
    shown = [one for one in ctx.command.get_params(ctx) if ctx.parent is None or one.name != "socket"]
    if ctx.parent is not None:
        shown = [one for one in shown if one is not ctx.command.get_help_option(ctx)]
    return _pairs(record for one in shown if (record := one.get_help_record(ctx)) is not None)


def _pairs(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [line for name, text in pairs for line in (".TP", f".B {_text(name)}", _text(text))]


def _parts(command: click.Command) -> tuple[str, str]:
    """The first sentence of its help and the rest."""
    first, _, rest = inspect.cleandoc(command.help or "").replace("\\b\n", _MARK).partition("\n")
    return first, rest.strip("\n")


def _paragraphs(text: str) -> list[str]:
    lines = []
    for paragraph in filter(str.strip, (one.strip("\n") for one in text.split("\n\n"))):
        if paragraph.startswith(_MARK):
            kept = [_text(line) for line in paragraph.removeprefix(_MARK).split("\n")]
            lines += [".PP", ".RS 4", ".nf", *kept, ".fi", ".RE"]
        else:
            lines += [".PP", *(_text(line.strip()) for line in paragraph.split("\n"))]
    return lines


def _text(text: str) -> str:
    """One line of text that is no instruction; hyphens stay hyphens, so that they can be copied."""
    masked = " ".join(text.split("\n")).replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{masked}" if masked.startswith((".", "'")) else masked


if __name__ == "__main__":
    for written in write(Path(sys.argv[1])):
        sys.stdout.write(f"{written}\n")
