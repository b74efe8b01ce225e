"""``cdmd restore``: a backup in place of what is there, and everybody who was suppressed or erased since as they were."""

import json
from pathlib import Path

import click

from cdmd.cli.loading import load_all
from cdmd.config.schema import Config, IdentitySettings
from cdmd.daemon.erasing import RESTORED
from cdmd.daemon.suppressing import LISTED, OWNER, PURPOSE, key_check, suppression_row
from cdmd.errors import BadArguments, CdmdError
from cdmd.identity.identifiers import Kinds
from cdmd.kit.measures import several
from cdmd.privacy.listing import read_list
from cdmd.privacy.suppressions import Suppressions
from cdmd.store.files import StateDirectory
from cdmd.store.keys import Digester
from cdmd.store.restoring import kept_state
from cdmd.store.restoring import restore as restore_backup

State = dict[tuple[str, bytes], bytes]


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--config", type=click.Path(path_type=Path), help="The configuration file.")
@click.option("--state-dir", type=click.Path(path_type=Path), help="The state directory, instead of the configured one.")
@click.option(
    "--suppressions",
    "listed",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A list that `cdmctl suppressions export` wrote, beside the one that is known here.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def restore(file: Path, config: Path | None, state_dir: Path | None, listed: Path | None, *, as_json: bool) -> None:
    r"""Put the backup FILE in place; what was there is kept beside it under a new name.

    Whoever was suppressed or erased here since the backup was made stays so: at the next start, before anything listens,
    those who were erased are erased again.

    \b
    cdmd restore /backup/cdmd-2026-11-23.tar
    cdmd restore /backup/cdmd-2026-11-23.tar --state-dir /var/lib/cdmd --suppressions suppressions.jsonl
    """
    directory = StateDirectory(state_dir or _own(load_all(config).config))
    if directory.elsewhere.exists():
        raise CdmdError(
            f"the store of {directory.root} is a database on a server: restore it there, or FILE into another directory"
        )
    kept = kept_state(directory, OWNER)
    if kept is None and listed is None:
        click.echo(
            "warning: the journal that was here is gone or cannot be read, so nobody knows who was suppressed or erased since "
            "the backup: if you have a list of them, restore again with --suppressions",
            err=True,
        )
    state: State = {} if listed is None else _read(listed, directory)
    state |= {(OWNER, key): value for key, value in (kept or {}).items()}
    count = sum(key.startswith(LISTED) for _, key in state)
    manifest = restore_backup(file, directory, state=state | {(OWNER, RESTORED): b"1"})
    if not directory.key.exists():
        said = f"the digest key is no part of a backup: put your copy at {directory.key} before the daemon starts"
        click.echo(said, err=True)
    root = str(directory.root)
    shown = {"state_dir": root, "created": manifest.created, "head": manifest.head, "position": manifest.position}
    if as_json:
        click.echo(json.dumps({**shown, "suppressions": count}))
    else:
        click.echo(f"restored the backup of {manifest.created} into {root} (journal up to {manifest.head})")
        if count:
            said = several(count, "digests")
            click.echo(f"in force from here, and applied to it before the daemon listens: a suppression list of {said}")


def _own(config: Config) -> Path:
    """The configured state directory. Raises ``CdmdError`` where the journal, and so who was suppressed, is not in it."""
    if config.journal.url is not None:
        raise CdmdError(
            f"the journal lies at {config.journal.url} (journal.url), and a backup is not restored there: restore it into "
            "another directory with --state-dir, and run it without that key"
        )
    return config.state_dir


def _read(listed: Path, directory: StateDirectory) -> State:
    """The rows of a list that was made with the key that is here. Raises ``BadArguments`` and ``CdmdError``."""
    try:
        made_with, rows = read_list(listed.read_bytes().splitlines())
    except BadArguments as error:
        raise BadArguments(f"{listed}: {error}") from error
    if directory.key.exists():
        mine = Suppressions(key=Digester(directory.key.read_bytes()).secret(OWNER, PURPOSE), naming=_no_kinds)
        if key_check(mine) != made_with:
            raise CdmdError(
                f"{listed} was made with another digest key than {directory.key}: put the key that belongs to it in its place"
            )
    return dict(suppression_row(digest, one) for digest, one in rows.items())


def _no_kinds() -> Kinds:
    return Kinds(IdentitySettings())
