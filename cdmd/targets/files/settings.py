"""The keys of the targets of type ``folder`` and ``sftp``, and what they mean together. Pure."""

import importlib.util
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from cdmd.kit import ssh_hosts
from cdmd.kit.daily import At
from cdmd.kit.quantities import Duration
from cdmd.kit.templates import Template

Format: TypeAlias = Literal["csv", "jsonl", "parquet"]
_PLACE: Final = re.compile(r"\{([^{}]*)\}")
_PLACES: Final = ("target", "audience", "time", "date")
_LEAST: Final = 60.0
_LONGEST_NAME: Final = 200


class EncryptSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``encrypt``: gpg encrypts each file before it leaves."""

    home: Annotated[str, Meta(description="gpg's home directory (GNUPGHOME), with the recipients' public keys in it.")]
    recipients: Annotated[
        tuple[str, ...], Meta(description="Whom to encrypt for: key ids, fingerprints or addresses.", min_length=1)
    ]
    program: Annotated[str, Meta(description="The program.")] = "gpg"


class BatchSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What batch files to anywhere have in common."""

    path: Annotated[str, Meta(description="The folder that files are put in.")]
    audience: Annotated[
        str | None,
        Meta(description="The audience whose members are written; without it what `events` chose since the last file."),
    ] = None
    mode: Annotated[
        Literal["full", "changes"],
        Meta(
            description=(
                "`full`: every member each time; `changes`: those who were added, changed or removed since the last file "
                "(column `change`; of a removed one only its id is written)."
            )
        ),
    ] = "full"
    at: Annotated[
        str | tuple[str, ...] | None, Meta(description='When a file is written: `"02:30 Europe/Stockholm"`, or several times.')
    ] = None
    every: Annotated[Duration | None, Meta(description="How often instead, from 1m up.")] = None
    name: Annotated[
        str,
        Meta(
            description=(
                "The file's name. `{target}`, `{audience}`, `{time}` (`20261123T013000Z`) and `{date}` (`2026-11-23`, of the "
                "zone of `at`) are filled in: those of the moment it was due."
            )
        ),
    ] = "{target}_{time}"
    format: Annotated[
        Format, Meta(description="How it is written; its ending follows from it. Parquet needs `cdmd[parquet]`.")
    ] = "csv"
    columns: Annotated[
        dict[str, str],
        Meta(
            description=(
                'What stands in each column, as templates: `{ mail = "{identifiers.email}" }`. Without it a csv or parquet '
                "file has a column for each entry that any of its rows has, and json lines are written as they are."
            )
        ),
    ] = {}
    delimiter: Annotated[str, Meta(description="What separates the columns of a csv.", min_length=1, max_length=1)] = ","
    compress: Annotated[Literal["none", "gzip"], Meta(description="Whether it is compressed.")] = "none"
    encrypt: Annotated[EncryptSettings | None, Meta(description="How it is encrypted with PGP.")] = None
    manifest: Annotated[
        bool,
        Meta(
            description="Write `NAME.manifest.json` after each file, with its bytes, rows and SHA-256: then the file is whole."
        ),
    ] = False
    empty: Annotated[bool, Meta(description="Write a file also where there is nothing to say.")] = True

    @property
    def ending(self) -> str:
        """What a file's name ends with."""
        return f".{self.format}{'.gz' if self.compress == 'gzip' else ''}{'.pgp' if self.encrypt else ''}"


class FolderTargetSettings(BatchSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a target of type ``folder``."""


class SftpTargetSettings(BatchSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a target of type ``sftp``. ``login_timeout``, for ``timeout`` is every target's."""

    host: ssh_hosts.HostName
    username: ssh_hosts.UserName
    host_key: ssh_hosts.HostKeys = None
    port: ssh_hosts.Port = 22
    password: ssh_hosts.Password = None
    private_key: ssh_hosts.PrivateKey = None
    passphrase: ssh_hosts.Passphrase = None
    certificate: ssh_hosts.Certificate = None
    agent: ssh_hosts.Agent = None
    jump: ssh_hosts.Jump = None
    login_timeout: ssh_hosts.LoginTimeout = ssh_hosts.LOGIN_TIMEOUT
    idle_timeout: ssh_hosts.IdleTimeout = ssh_hosts.IDLE_TIMEOUT


def file_name(settings: BatchSettings, target: str, slot: datetime) -> str:
    """The name of the file that was due at ``slot``."""
    at = At.each(settings.at)
    filled = {
        "target": target,
        "audience": settings.audience or "",
        "time": f"{slot.astimezone(UTC):%Y%m%dT%H%M%SZ}",
        "date": f"{slot.astimezone(at[0].clock if at else UTC):%Y-%m-%d}",
    }
    return _PLACE.sub(lambda place: filled[place[1]], settings.name) + settings.ending


def problems(settings: BatchSettings) -> list[str]:
    """Every mistake that the structs cannot express, as ``key: what is wrong``."""
    found = [*_times(settings), *_name(settings), *_columns(settings.columns)]
    if not settings.path:
        found.append("path: is empty")
    if settings.mode == "changes" and settings.audience is None:
        found.append("mode: changes are those of an audience; what happened since the last file is written anyway")
    if settings.format == "parquet":
        if importlib.util.find_spec("pyarrow") is None:
            found.append("format: parquet needs pyarrow: pip install 'cdmd[parquet]'")
        if settings.compress != "none":
            found.append("compress: parquet compresses by itself")
    if (not settings.delimiter.isprintable() and settings.delimiter != "\t") or settings.delimiter in {'"', "\r", "\n"}:
        found.append("delimiter: is one character, not a quote or the end of a line")
    return found


def _times(settings: BatchSettings) -> list[str]:
    if (settings.at is None) == (settings.every is None):
        return ['at: say when: at = "02:30 Europe/Stockholm", or every = "6h"' + ("" if settings.at is None else ", not both")]
    if settings.every is not None and settings.every.seconds < _LEAST:
        return ["every: at least 1m"]
    try:
        return [] if settings.every is not None or At.each(settings.at) else ["at: is empty"]
    except ValueError as error:
        return [f"at: {error}"]


def _name(settings: BatchSettings) -> list[str]:
    name, known = settings.name, ", ".join(f"{{{one}}}" for one in _PLACES)
    found = [f"name: {{{place}}} is none of {known}" for place in _PLACE.findall(name) if place not in _PLACES]
    rest = _PLACE.sub("", name)
    if set(rest) & set("{}"):
        found.append("name: a brace stands alone")
    if not name or PurePosixPath(name).name != name or name.startswith(".") or not name.isprintable():
        found.append("name: is the plain name of a file, without a folder")
    if len(name.encode()) > _LONGEST_NAME:
        found.append(f"name: longer than {_LONGEST_NAME} bytes")
    if "{audience}" in name and settings.audience is None:
        found.append("name: there is no audience to name")
    if (
        not found
        and "{time}" not in name
        and not ("{date}" in name and (isinstance(settings.at, str) or len(settings.at or ()) == 1))
    ):
        found.append("name: without {time} (or {date}, for one file a day) a file takes the place of the one before")
    return found


def _columns(columns: Mapping[str, str]) -> list[str]:
    found = []
    for name, text in columns.items():
        try:
            Template.parse(text)
        except ValueError as error:
            found.append(f"columns.{name}: {error}")
    return found
