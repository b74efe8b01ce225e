"""``cdmd try FILE``: a configuration to paste for a file that no connector knows, and its first events by it."""

import json
import re
import tempfile
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from cdmd.cli.daemon_sampling import sampled
from cdmd.cli.loading import lift_bounds, load_all
from cdmd.cli.terminal import clean, escaped
from cdmd.connectors.probing import Guess, as_toml, probe
from cdmd.connectors.probing.values import identifiers, texts_of
from cdmd.contracts import SamplingConnector
from cdmd.errors import CdmdError, FormatFault
from cdmd.testing.source import RecordingSource

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MOST: Final = 40


def proposed(file: Path, *, limit: int) -> RecordingSource:
    """The file's first events as its proposal, which goes to stderr, would bring them. Raises ``CdmdError``."""
    lift_bounds()
    try:
        guess = probe(file)
    except (FormatFault, OSError) as error:
        raise CdmdError(f"{file} cannot be read: {error}") from error
    if guess is None and file.stat().st_size == 0:
        raise CdmdError(f"{file} is empty")
    if guess is None or not guess.columns:
        raise CdmdError(
            f"{file} is no table, JSON, XML, spreadsheet or Parquet file that could be told by its content; how to describe "
            "one by hand is in etc/README.md"
        )
    name = name_of(file)
    text = proposal(file, guess, name=name)
    click.echo(escaped(text), err=True)
    with tempfile.TemporaryDirectory(prefix="cdmd-try-") as folder:
        config = Path(folder) / "proposed.toml"
        config.write_text(text)
        config.chmod(0o600)
        loaded = load_all(config)
        one = loaded.config.connectors[name]
        built: Any = loaded.plugins.connector_types()[one.frame.type](one.name, one.settings)
        assert isinstance(built, SamplingConnector)  # noqa: S101 - connectors of files are
        return sampled(built, one, loaded, limit=limit, given=file)


def proposal(file: Path, guess: Guess, *, name: str) -> str:
    """The configuration of a connector for that file, in TOML; what is not sure is in its comments."""
    texts = texts_of(guess.records)
    kinds = identifiers(texts)
    kept = [column for column in guess.columns if column not in kinds.values() and _is_scalar(guess, column)][:_MOST]
    key = kinds.get("customer_no") or next(iter(kinds.values()), next(iter(guess.columns), ""))
    lines = [
        f"# {clean(file.name)} seems to be like this.",
        "# Paste it into a file of conf.d, take out what you do not need, see: cdmd check",
        *(f"# not sure: {clean(doubt)}" for doubt in guess.doubts),
        f"[connectors.{name}]",
        'type = "folder"  # of a supplier\'s area: "sftp", with host, username, private_key and host_key (cdmd try shows that)',
        f"path = {as_toml(str(file.absolute().parent))}",
        f"files = {as_toml([_glob(file.name)])}",
        guess.line,
        "# Where each file is the whole register, what changed since the last one becomes events:",
        '# mode = "snapshot"',
        f"# key = {as_toml([key])}",
        "",
        f"[connectors.{name}.event]",
        f'type = "{name}.received"  # of a register: "{name}.{{change}}" (added, changed, removed, restored)',
        *([f"identifiers = {as_toml(_templates(kinds))}"] if kinds else [_NOBODY]),
        *([_REGION] if any(text.strip().startswith("0") for text in texts.get(kinds.get("phone", ""), ())) else []),
        f"traits = {as_toml(_templates(_slugs(kept)))}  # what is not named here is not kept",
    ]
    return "\n".join(lines)


_REGION: Final = (
    '# numbers without a country code need their region: [identity.identifiers] phone = { priority = 4, region = "SE" } ...'
)
_NOBODY: Final = '# identifiers = { email = "{column}" }  # no column seems to name a customer: say which one does'


def name_of(file: Path) -> str:
    """A connector's name for files like this one."""
    stem = re.sub(r"[\d._-]*$", "", file.name.partition(".")[0])
    return _slug(stem, otherwise="files")


def _glob(name: str) -> str:
    """The name with what changes from file to file, dates and numbers, as ``*``."""
    plain = re.sub(r"[*?\[]", "?", name)
    return re.sub(r"\d[\d_.-]{2,}\d", "*", plain)


def _templates(columns: Mapping[str, str]) -> dict[str, str]:
    return {name: f"{{{_expression(column)}}}" for name, column in columns.items()}


def _expression(column: str) -> str:
    return column if _PLAIN.fullmatch(column) else json.dumps(column, ensure_ascii=False)


def _slugs(columns: Sequence[str]) -> dict[str, str]:
    """A name of its own for each column."""
    found: dict[str, str] = {}
    for column in columns:
        name, number = _slug(column, otherwise="value"), 2
        while name in found:
            name, number = f"{_slug(column, otherwise='value')}_{number}", number + 1
        found[name] = column
    return found


def _slug(text: str, *, otherwise: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_") or otherwise


def _is_scalar(guess: Guess, column: str) -> bool:
    return bool(column) and not any(isinstance(record.get(column), dict | list) for record in guess.records)
