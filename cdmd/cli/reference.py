"""Markdown tables made from the code, so that documentation cannot drift.

Of commands, the control API, problems, hooks, public names and the library.
"""

import inspect
from collections.abc import Iterator
from typing import Final

import click

import cdmd
from cdmd import hookspecs
from cdmd.config.library import Library
from cdmd.control.handlers import STREAMS, TABLE
from cdmd.control.problems import codes

_HOOKS_VERSION: Final = (
    "The version of the hooks and of these names, (1, 0): additions raise the second number, and nothing goes"
)


def command_table(command: click.Command, *, name: str) -> str:
    """A row for each command of ``command`` with its arguments, options and first line of help."""
    rows = [f"| `{usage}` | {text} |" for usage, text in _rows(click.Context(command, info_name=name))]
    return "\n".join(["| command | does |", "|---|---|", *rows])


def api_table() -> str:
    """A row for each path of the control socket: what it takes and does."""
    handlers = [*TABLE, *(("GET", path, opener) for path, opener in STREAMS)]
    rows = [f"| `{method} {path}` | {_sentence(handler)} |" for method, path, handler in handlers]
    return "\n".join(["| request | takes and does |", "|---|---|", *rows])


def problem_table() -> str:
    """A row for each problem code of the control socket."""
    return "\n".join(
        [
            "| code | status | means |",
            "|---|---|---|",
            *(f"| `{code}` | {status} | {text.replace('``', '`')} |" for code, status, text in codes()),
        ]
    )


def hook_table() -> str:
    """A row for each hook: its arguments and its promise."""
    found = [(name, hook) for name, hook in vars(hookspecs).items() if name.startswith("cdmd_")]
    rows = [f"| `{name}({', '.join(inspect.signature(hook).parameters)})` | {_prose(hook)} |" for name, hook in found]
    return "\n".join(["| hook | promise |", "|---|---|", *rows])


def name_table() -> str:
    """A row for each public name of ``cdmd``."""
    names = [name for name in cdmd.__all__ if not name.startswith("_")]
    rows = [f"| `cdmd.{name}` | {_prose(getattr(cdmd, name)).partition('. ')[0].rstrip('.')} |" for name in names]
    return "\n".join(["| name | is |", "|---|---|", *rows])


def library_table() -> str:
    """A row for each of our own predefined connectors and targets."""
    library = Library()
    entries = [(name, library.entry(name)) for name in library.names()]
    rows = [f"| `{name}` | {entry.kind} | {entry.summary} | {entry.verified} |" for name, entry in entries]
    return "\n".join(["| `use` | kind | brings | verified by |", "|---|---|---|---|", *rows])


def _prose(thing: object) -> str:
    """Its docstring as one line of Markdown."""
    told = {id(hookspecs.hookimpl): "Marks a function as a hook's implementation", id(hookspecs.HOOKS_VERSION): _HOOKS_VERSION}
    text = told.get(id(thing)) or inspect.getdoc(thing) or ""
    return " ".join(text.split()).replace("``", "`")


def _sentence(handler: object) -> str:
    return (handler.__doc__ or "").strip()


def _rows(ctx: click.Context) -> Iterator[tuple[str, str]]:
    command = ctx.command
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield _usage(ctx), _first_line(command)
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            found = command.get_command(ctx, name)
            if found is not None and not found.hidden:
                yield from _rows(click.Context(found, info_name=name, parent=ctx))


def _usage(ctx: click.Context) -> str:
    arguments = [part.make_metavar(ctx) for part in ctx.command.params if isinstance(part, click.Argument)]
    options = [
        f"[{part.opts[0]}{'' if part.is_flag else ' ' + part.make_metavar(ctx)}]"
        for part in ctx.command.params
        if isinstance(part, click.Option) and not part.hidden and part.name not in {"socket", "help"}
    ]
    return " ".join([ctx.command_path, *arguments, *options]).replace("|", "\\|")


def _first_line(command: click.Command) -> str:
    return (command.help or "").strip().partition("\n")[0]
