"""``cdmctl plugins``: which there are and how each is, and all about one."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from cdmd.cli.connection import client, prints_data, talks
from cdmd.cli.drawing import Table
from cdmd.cli.lazy import Entry, LazyGroup
from cdmd.cli.tables import plugin_table, process
from cdmd.cli.terminal import note, print_json, print_pairs, print_table, span
from cdmd.kit.measures import size


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    entries={
        "list": Entry("cdmd.cli.control_plugins:plugin_list", "List the plugins."),
        "info": Entry("cdmd.cli.control_plugins:info", "All about one: its extensions, and its settings to paste."),
    },
)
@talks
@prints_data
@click.pass_context
def plugins(ctx: click.Context, as_json: bool) -> None:
    r"""Plugins and their state, or all about one.

    \b
    cdmctl plugins
    cdmctl plugins info warranty
    cdmctl plugins info warranty --example >> /etc/cdmd/conf.d/warranty.toml
    """
    if ctx.invoked_subcommand is None:
        _list(as_json=as_json)


@click.command("list")
@talks
@prints_data
def plugin_list(as_json: bool) -> None:
    """List the plugins."""
    _list(as_json=as_json)


@click.command
@click.argument("name")
@click.option("--example", is_flag=True, help="Only its settings, as TOML to paste.")
@talks
@prints_data
def info(name: str, example: bool, as_json: bool) -> None:
    r"""All about one: its extensions, and its settings to paste.

    \b
    cdmctl plugins info warranty
    cdmctl plugins info warranty --example >> /etc/cdmd/conf.d/warranty.toml
    """
    document = client().get("/v1/plugin", {"name": name})
    if as_json:
        print_json(document)
    elif example:
        _example(document)
    else:
        _show(document)


def _list(*, as_json: bool) -> None:
    rows = client().get("/v1/plugins")
    if as_json:
        print_json(rows)
    else:
        print_table(plugin_table(rows))


def _example(document: Mapping[str, Any]) -> None:
    if document["example"]:
        click.echo(document["example"], nl=False)
    else:
        note(f"{document['name']} declares no settings; what it takes stands in its own documentation")


def _show(document: Mapping[str, Any]) -> None:
    print_pairs(_about(document))
    if document["extensions"]:
        click.echo()
        print_table(_extensions(document["extensions"]))
    if document["example"]:
        click.echo(f"\n{document['example']}", nl=False)


def _about(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "plugin", document["name"]
    yield "version", document["version"]
    yield "state", document["state"]
    if document["error"]:
        yield "error", document["error"]
    if found := document.get("process"):
        yield "process", f"{process(document)}, pid {found['pid']}"
        if found["max_memory_bytes"]:
            yield "at most", size(found["max_memory_bytes"])
        if found["reason"]:
            yield "last ended", found["reason"]
        yield "kept away", _kept(found)
    for one in document["brings"]:
        yield "brings", one


def _kept(row: Mapping[str, Any]) -> str:
    if not row["kernel"]:
        return "by the interpreter alone (this kernel has no Landlock)"
    return (
        "by the kernel"
        if row.get("signals")
        else "by the kernel, but from signalling others by the interpreter alone (Linux before 6.12)"
    )


def _extensions(rows: list[Mapping[str, Any]]) -> Table:
    figures = ("calls", "failed", "time", "95 %", "running", "waiting", "held")
    headers = ("extension", "on", "timeout", "on failure", *figures, "remark")
    return Table("extensions", headers, [_extension(row) for row in rows], ("95 %", "running", "timeout", "time"))


def _extension(row: Mapping[str, Any]) -> list[Any]:
    until = row["not_called_until"]
    remark = "; ".join(filter(None, (row["withheld"], row["error"], f"not called until {until}" if until else None))) or None
    figures = (row["calls"], row["failures"], span(row["seconds"]), span(row["p95_seconds"]), row["running"], row["waiting"])
    return [row["name"], ", ".join(row["on"]), span(row["timeout"]), row["on_failure"], *figures, row["held"], remark]
