"""``cdmd migrate``: everything that one configuration names moved to where another one says, and back."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import click

from cdmd.cli.drawing import Table
from cdmd.cli.loading import load_all
from cdmd.cli.terminal import clean, note, print_json, print_table, span
from cdmd.config.schema import Config
from cdmd.kit import measures
from cdmd.kit.clock import SystemClock
from cdmd.moving.foreseeing import Foreseen, foresee
from cdmd.moving.migration import Moved, Plan
from cdmd.moving.migration import migrate as moving
from cdmd.moving.places import Installation
from cdmd.store.bulk import Tally
from cdmd.store.files import StateDirectory


@click.command()
@click.option("--to", "to", type=click.Path(path_type=Path), required=True, help="The configuration that names the new place.")
@click.option("--config", type=click.Path(path_type=Path), help="The configuration file that is used until now.")
@click.option("--dry-run", is_flag=True, help="Say what would go and about how long it takes; also while the daemon runs.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def migrate(to: Path, config: Path | None, *, dry_run: bool, as_json: bool) -> int:
    r"""Move all that is kept to the journal and the store that another configuration names.

    The daemon must be stopped. What went is compared by counts and digests before the old place says that it was moved, after
    which nothing can be started with it; a run that was interrupted goes on where it was. The same command leads back.

    \b
    cdmd migrate --to /etc/cdmd/cluster.toml --dry-run
    cdmd migrate --to /etc/cdmd/cluster.toml
    cdmd migrate --config /etc/cdmd/cluster.toml --to /etc/cdmd/cdmd.toml
    """
    before, after = load_all(config).config, load_all(to).config
    source, target = _installation(before), _installation(after)
    bar = _Bar(shown=not as_json and sys.stderr.isatty())
    plan = Plan(source=source, target=target, clock=SystemClock(), told=bar.told)
    if dry_run:
        return _foretell(anyio.run(foresee, plan), as_json=as_json)
    try:
        moved = anyio.run(moving, plan)
    finally:
        bar.end()
    _report(plan, moved, as_json=as_json)
    return 0


def _installation(config: Config) -> Installation:
    return Installation(StateDirectory(config.state_dir.resolve()), config.journal, config.store)


class _Bar:
    """One line on a terminal that says what is being done."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown

    def told(self, what: str, count: int) -> None:
        """Called from threads, with what is being done and how many rows that was by now."""
        if self._shown:
            click.echo(f"\r\x1b[K{clean(what)} {count or ''}", err=True, nl=False)

    def end(self) -> None:
        if self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)


def _foretell(found: Foreseen, *, as_json: bool) -> int:
    if as_json:
        parts = {part: dict(rows) for part, rows in found.parts.items()}
        print_json({"parts": parts, "bytes": dict(found.bytes), "seconds": round(found.seconds, 1), "refused": found.refused})
    else:
        rows = [(part, name, count) for part, tables in found.parts.items() for name, count in tables.items() if count]
        print_table(Table("tables", ["part", "table", "rows"], rows))
        size = measures.size(sum(found.bytes.values()))
        note(f"{size} would go, in about {span(found.seconds)}; nothing was changed")
        if found.refused:
            note(f"it would be refused: {found.refused}")
    return 1 if found.refused else 0


def _report(plan: Plan, moved: Moved, *, as_json: bool) -> None:
    before, (store, journal) = plan.places
    aside = None if moved.aside is None else str(moved.aside)
    if as_json:
        parts = {part: {name: _shown(one) for name, one in tables.items()} for part, tables in moved.parts.items()}
        print_json({"store": store, "journal": journal, "parts": parts, "resumed": moved.resumed, "aside": aside})
        return
    rows = [
        (part, name, one.rows, f"{one.digest:032x}")
        for part, tables in moved.parts.items()
        for name, one in tables.items()
        if one.rows
    ]
    if rows:
        print_table(Table("tables", ["part", "table", "rows", "digest"], rows))
    note(f"moved and compared: the store is {store} now, the journal {journal}")
    if aside is not None:
        note(
            f"what lay here before is kept in {aside}, and nothing starts with it: remove it when you are content, because "
            "erasures do not reach it"
        )
    for place, went, url in zip(
        before, (plan.stores, plan.journals), (plan.source.store.url, plan.source.journal.url), strict=True
    ):
        if went and url is not None:
            note(f"what lies at {place} stays there, and erasures do not reach it: systemd/README.md says how to remove it")
    note("start cdmd with the new configuration; to come back, stop it and exchange --config and --to")


def _shown(one: Tally) -> Mapping[str, Any]:
    return {"rows": one.rows, "digest": f"{one.digest:032x}"}
