"""``cdmd library``: the predefined connectors and targets, and the page of one. Needs no daemon and no configuration."""

import json
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from cdmd.cli.drawing import Table
from cdmd.cli.lazy import Entry as Command
from cdmd.cli.lazy import LazyGroup
from cdmd.cli.terminal import clean, note, print_json, print_table
from cdmd.errors import CdmdError, NotFound

if TYPE_CHECKING:
    from cdmd.config.library import Library

_HERE = "cdmd.cli.library"
_COLUMNS = ("name", "kind", "summary", "verified")


def names(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The entries that begin like this, for the shell."""
    return [CompletionItem(name) for name in _library().names() if name.startswith(incomplete)]


@click.group(cls=LazyGroup, invoke_without_command=True, entries={"show": Command(f"{_HERE}:show", "The page of one.")})
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def library(ctx: click.Context, *, as_json: bool) -> None:
    r"""The predefined connectors and targets.

    \b
    cdmd library
    cdmd library show shopify
    """
    if ctx.invoked_subcommand is None:
        rows = list(_rows(_library()))
        if as_json:
            print_json([dict(zip(_COLUMNS, row, strict=True)) for row in rows])
        else:
            print_table(Table("predefined connectors and targets", _COLUMNS, rows, optional=("verified",)))


@click.command()
@click.argument("name", shell_complete=names)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def show(name: str, *, as_json: bool) -> None:
    r"""The page of one: how to set it up, what arrives or goes out, what it becomes, what was verified, a snippet to paste.

    \b
    cdmd library show github
    cdmd library show stripe --json | jq -r .snippet
    """
    from cdmd.config.library import Unusable

    found = _library()
    if found.file(name) is None:
        near = found.nearest(name)
        hint = f"did you mean {' or '.join(near)}?" if near else "`cdmd library` lists them"
        raise NotFound(f"there is no predefined connector or target {clean(name)!r} ({hint})")
    try:
        document = page_document(found, name)
    except Unusable as fault:
        raise CdmdError(clean(str(fault))) from fault
    if as_json:
        print_json(document)
    else:
        _print_markdown("\n".join(_page(document)))


def page_document(found: "Library", name: str) -> dict[str, Any]:
    """All that there is to say about an entry, as data. Raises Unusable."""
    entry = found.entry(name)
    return {
        "name": name,
        "title": entry.title,
        "kind": entry.kind,
        "summary": entry.summary,
        "verified": entry.verified,
        "page": found.page(name),
        "snippet": _pasted(entry.snippet, entry.kinds),
        "stands_for": found.written_out(name, called=name.rpartition("/")[2]),
        "kinds": entry.kinds,
        "connector": entry.connector,
        "target": entry.target,
        "file": str(found.file(name)),
    }


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    """The page as Markdown."""
    yield f"# {document['title']}\n"
    yield f"{document['summary']} ({document['kind']}; verified: {document['verified']})\n"
    yield f"{document['page']}\n"
    yield f"## To paste\n\n```toml\n{document['snippet']}\n```\n"
    yield f'## What `use = "{document["name"]}"` stands for\n'
    yield (
        'Every key can be overridden: yours win, tables merge, lists replace, "" takes a key out of `'
        + ("record" if document["target"] else "event")
        + "`.\n"
    )
    yield f"```toml\n{document['stands_for']}\n```"


def _pasted(snippet: str, kinds: Mapping[str, Mapping[str, Any]]) -> str:
    """The snippet, and the identifier kinds as a remark: the table they belong in replaces the default kinds."""
    lines = [snippet.strip()]
    if kinds:
        lines += ["", "# To join people by these, add them to [identity.identifiers] (it replaces the default kinds):"]
        lines += [f"# {kind} = {{ {_inline(settings)} }}" for kind, settings in kinds.items()]
    return "\n".join(lines)


def _inline(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {json.dumps(value)}" for name, value in settings.items())


def _print_markdown(text: str) -> None:
    """Drawn on a terminal, as it is in a pipe."""
    safe = "\n".join(clean(line) for line in text.splitlines())
    if not sys.stdout.isatty():
        click.echo(safe)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(safe, code_theme="ansi_dark", hyperlinks=False))


def _rows(found: "Library") -> Iterator[tuple[str, ...]]:
    """A row for each entry; one that cannot be read is named on stderr."""
    from cdmd.config.library import Unusable

    for name in found.names():
        try:
            entry = found.entry(name)
        except Unusable as fault:
            note(str(fault))
            continue
        yield name, entry.kind, entry.summary, entry.verified


def _library() -> "Library":
    from cdmd.config.library import Library

    return Library.installed(entry_points(group="cdmd"))
