"""The keys of the connectors of type ``sftp`` and ``folder``, and what they mean together. Pure."""

import re
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from cdmd.connectors.registers.deciding import Removals
from cdmd.contracts import ChosenFormat
from cdmd.kit import ssh_hosts
from cdmd.kit.daily import At
from cdmd.kit.quantities import Duration, Size
from cdmd.kit.secret import Secret

_SHARE: Final = re.compile(r"(\d{1,15})(%?)")
_FEW: Final = 10


class Share(msgspec.Struct, frozen=True):
    """How many of all may be bad: a number, or per cent of all."""

    number: int
    percent: bool

    @classmethod
    def parse(cls, text: str) -> "Share":
        """Read ``"1%"`` or ``"100"``; raises ValueError."""
        found = _SHARE.fullmatch(text)
        if found is None or (found[2] and int(found[1]) > 100):  # noqa: PLR2004 - per cent
            raise ValueError(f'{text!r} is neither a number of records ("100") nor per cent of them ("1%")')
        return cls(int(found[1]), bool(found[2]))

    def exceeded(self, bad: int, *, of: int) -> bool:
        """Whether so many are too many. Of a per cent ten are never too many, unless they are more than half."""
        if not self.percent:
            return bad > self.number
        return bad > max(of * self.number / 100, _FEW) or bad * 2 > of


class DecryptSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``decrypt``: files are encrypted with PGP, and gpg decrypts them."""

    home: Annotated[str, Meta(description="gpg's home directory (GNUPGHOME), with the private key in it.")]
    passphrase: Annotated[Secret | None, Meta(description="The private key's passphrase.")] = None
    program: Annotated[str, Meta(description="The program.")] = "gpg"


class FileSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What files from anywhere have in common."""

    path: Annotated[str, Meta(description="The folder to watch.")]
    format: Annotated[ChosenFormat, Meta(description='How a file is read: `{ type = "csv", ... }`.')]
    files: Annotated[
        tuple[str, ...],
        Meta(description="Names (globs) that are wanted; one with a slash is held against the path below `path`."),
    ] = ("*",)
    exclude: Annotated[tuple[str, ...], Meta(description="Names (globs) that are not, whatever `files` says.")] = (
        ".*",
        "*.tmp",
        "*.part",
        "*.partial",
        "*.filepart",
    )
    depth: Annotated[int, Meta(description="How many folders deep below `path` to look.", ge=0, le=32)] = 0
    mode: Annotated[
        Literal["events", "snapshot"],
        Meta(
            description=(
                "`events`: each record is an event; `snapshot`: the file is the whole register, and what changed since the "
                "last one becomes events (`{change}` is added, changed, removed or restored, `{changed}` names columns)."
            )
        ),
    ] = "events"
    key: Annotated[tuple[str, ...], Meta(description="The columns that identify a row of the register.")] = ()
    ignore: Annotated[tuple[str, ...], Meta(description="Columns whose changes are none.")] = ()
    max_removed: Annotated[
        str, Meta(description="More removals at once are held for approval: a number of rows, or per cent of all.")
    ] = "5%"
    min_rows: Annotated[int, Meta(description="A register of fewer rows removes nobody without approval.", ge=0)] = 0
    missing_for: Annotated[
        int, Meta(description="In how many registers in a row a row must be missing before it is removed.", ge=1, le=200)
    ] = 1
    stable_for: Annotated[
        Duration, Meta(description="A file is whole when it stayed the same for so long, at two looks or more.")
    ] = Duration.parse("30s")
    marker: Annotated[
        str | None,
        Meta(description="A file is whole only when this one lies beside it: `{name}.done`, `{stem}.ok`."),
    ] = None
    checksum: Annotated[
        str | None,
        Meta(description="The same, and it holds the file's checksum (MD5, SHA-1, 256 or 512): `{name}.sha256`, `SHA256SUMS`."),
    ] = None
    max_size: Annotated[Size, Meta(description="A larger file is not read.")] = Size.parse("16GiB")
    decrypt: Annotated[DecryptSettings | None, Meta(description="How files are decrypted.")] = None
    entry: Annotated[str, Meta(description="The entries (a glob) of a zip that are read, in order of their names.")] = "*"
    zip_password: Annotated[Secret | None, Meta(description="The password of zips.")] = None
    max_unpacked: Annotated[Size, Meta(description="A file that unpacks to more is not read.")] = Size.parse("64GiB")
    max_bad: Annotated[
        str,
        Meta(
            description=(
                "More records that cannot be read or mapped stop the file: a number, or per cent of its records (then ten are "
                "let pass unless they are more than half)."
            )
        ),
    ] = "1%"
    after: Annotated[
        str, Meta(description="What becomes of a file that was read: `keep`, `delete`, or `move:FOLDER` (below `path`).")
    ] = "keep"
    every: Annotated[Duration | None, Meta(description="Look so often, instead of as often as `freshness` asks for.")] = None
    at: Annotated[
        str | tuple[str, ...] | None, Meta(description='Look at these times of day only: `"02:30 Europe/Stockholm"`.')
    ] = None


class FolderSettings(FileSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a connector of type ``folder``."""


class SftpSettings(FileSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a connector of type ``sftp``."""

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
    timeout: ssh_hosts.LoginTimeout = ssh_hosts.LOGIN_TIMEOUT
    idle_timeout: ssh_hosts.IdleTimeout = ssh_hosts.IDLE_TIMEOUT


def problems(settings: Any) -> list[str]:
    """Every mistake that the structs cannot express, as ``key: what is wrong``."""
    found = [*_names(settings), *_times(settings), *_after(settings), *_register(settings)]
    try:
        Share.parse(settings.max_bad)
    except ValueError as error:
        found.append(f"max_bad: {error}")
    if isinstance(settings, SftpSettings):
        found += ssh_hosts.mistakes(settings)
    return found


def _names(settings: FileSettings) -> list[str]:
    found = [] if settings.path else ["path: is empty"]
    found += [] if settings.files else ["files: matches nothing: name at least one file"]
    for key in ("marker", "checksum"):
        text = getattr(settings, key)
        if key == "marker" and text is not None and not any(part in text for part in ("{name}", "{stem}")):
            found.append("marker: names the file it belongs to as {name} or {stem}, for example {name}.done")
        if text is not None and "/" in text:
            found.append(f"{key}: lies beside its file, so it has no slash")
    return found


def _times(settings: FileSettings) -> list[str]:
    if settings.at is not None and settings.every is not None:
        return ["at: either at or every, not both"]
    if settings.every is not None and settings.every.seconds < 1:
        return ["every: at least 1s"]
    try:
        At.each(settings.at)
    except ValueError as error:
        return [f"at: {error}"]
    return []


def _after(settings: FileSettings) -> list[str]:
    what, _, folder = settings.after.partition(":")
    if what == "move" and (not folder or folder.startswith("/") or ".." in folder.split("/")):
        return ["after: move:FOLDER names a folder below path"]
    if settings.after not in {"keep", "delete"} and what != "move":
        return [f'after: {settings.after!r} is none of "keep", "delete", "move:FOLDER"']
    return []


def _register(settings: FileSettings) -> list[str]:
    if settings.mode != "snapshot":
        return ['key: only a register has one: mode = "snapshot"'] if settings.key else []
    found = [] if settings.key else ["key: is missing; name the columns that identify a row of the register"]
    try:
        Removals.parse(settings.max_removed)
    except ValueError as error:
        found.append(f"max_removed: {error}")
    return found
