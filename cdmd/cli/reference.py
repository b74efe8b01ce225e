"""The commands as a Markdown table, made from the commands themselves so that the documentation cannot drift."""

from collections.abc import Iterator

import click


def command_table(command: click.Command, *, name: str) -> str:
    """A row for each command of ``command`` with its arguments, options and first line of help."""
    rows = [f"| `{usage}` | {text} |" for usage, text in _rows(click.Context(command, info_name=name))]
    return "\n".join(["| command | does |", "|---|---|", *rows])


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
