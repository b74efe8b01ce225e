"""``cdmd check`` and ``verify``: what is looked at while no daemon runs."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from cdmd.cli.loading import load_all
from cdmd.cli.online import unreachable
from cdmd.cli.roles import ROLE
from cdmd.config.roles import role_problems
from cdmd.config.schema import Config
from cdmd.errors import ConfigInvalid
from cdmd.kit.measures import several
from cdmd.store.checking import verify_store
from cdmd.store.feeds import verify_feeds
from cdmd.store.files import StateDirectory
from cdmd.store.journal_checking import verify_journal

_CONFIG = click.option("--config", type=click.Path(path_type=Path), help="The configuration file.")
_STATE = click.option(
    "--state-dir", type=click.Path(path_type=Path), help="The state directory, instead of the configured one."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document.")
_WHOLE = {
    (True, True): "journal and store are whole",
    (True, False): "the journal is whole",
    (False, True): "the store is whole",
    (False, False): "the feeds are whole",
}
"""What is said where nothing is wrong, by whether the journal and the store lie in the state directory."""


@click.command()
@_CONFIG
@_JSON
@click.option("--online", is_flag=True, help="Also look up every host that the configuration names.")
@click.option("--quiet", is_flag=True, help="Say nothing where nothing is wrong.")
@ROLE
def check(config: Path | None, *, as_json: bool, online: bool, quiet: bool, roles: Sequence[str]) -> int:
    r"""Report every mistake of the configuration; exit status 0, or 6.

    \b
    cdmd check
    cdmd check --config /etc/cdmd/cdmd.toml --online
    cdmd check --role pull,deliver
    """
    problems: tuple[str, ...] = ()
    loaded: Config | None = None
    try:
        loaded = load_all(config).config
        problems = (*role_problems(loaded, roles), *(unreachable(loaded) if online else ()))
    except ConfigInvalid as error:
        problems = tuple(error.problems)
    if as_json:
        warnings = loaded.warnings if loaded else ()
        click.echo(json.dumps({"valid": not problems, "problems": list(problems), "warnings": list(warnings)}))
        return 6 if problems else 0
    if loaded is None or problems:
        raise ConfigInvalid(problems)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    if not quiet:
        files = ", ".join(loaded.files) or "embedded defaults"
        targets = f", {several(len(loaded.targets), 'targets')}" if loaded.targets else ""
        warned = f", {several(len(loaded.warnings), 'warnings')}" if loaded.warnings else ""
        click.echo(f"{files}: {several(len(loaded.connectors), 'connectors')}{targets}, no mistakes{warned}")
    return 0


def _about(config: Path | None, state_dir: Path | None) -> Config | None:
    """The configuration that says where journal and store lie; None where there is none about this directory.

    With ``--state-dir`` alone that is the usual one, if it can be read and is about that directory: a copy of a directory or
    one that was restored beside it has none.
    """
    if state_dir is None or config is not None:
        return load_all(config).config
    try:
        found = load_all(None).config
    except ConfigInvalid:
        return None
    return found if found.state_dir.resolve() == state_dir.resolve() else None


@click.command()
@_CONFIG
@_STATE
@_JSON
def verify(config: Path | None, state_dir: Path | None, *, as_json: bool) -> int:
    r"""Check store and journal while the daemon is down; exit status 0 when whole, else 1.

    \b
    cdmd verify
    cdmd verify --state-dir /var/lib/cdmd
    """
    loaded = _about(config, state_dir)
    directory = StateDirectory(state_dir or loaded.state_dir)  # type: ignore[union-attr]  # one of both is there
    elsewhere = loaded.journal.url if loaded else None
    if not any(path.exists() for path in (directory.journal, directory.store, directory.elsewhere)):
        raise click.ClickException(f"there is no journal and no store in {directory.root}")
    with directory.held():
        problems = [] if elsewhere else verify_journal(directory.journal, directory.mark)
        problems += [] if directory.elsewhere.exists() else verify_store(directory.store)
        problems += verify_feeds(directory.feeds) if directory.feeds.exists() else []
    if as_json:
        click.echo(json.dumps({"whole": not problems, "problems": problems}))
    else:
        for problem in problems:
            click.echo(problem)
        damaged = f"{several(len(problems), 'problems')} found; put a backup in place with: cdmd restore FILE"
        whole = _WHOLE[elsewhere is None, not directory.elsewhere.exists()]
        click.echo(f"{directory.root}: {damaged if problems else whole}")
        if elsewhere:
            click.echo(f"the journal lies at {elsewhere}: the running daemon looks through it with cdmctl verify", err=True)
        if directory.elsewhere.exists():
            click.echo("the store lies on a server: the running daemon looks through it with cdmctl verify", err=True)
    return 1 if problems else 0
