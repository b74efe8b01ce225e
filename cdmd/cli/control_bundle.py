"""``cdmctl support-bundle``: what somebody who helps needs to see, in one file that its owner can read before sending it."""

import io
import json
import os
import platform
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click

from cdmd import __version__
from cdmd.cli.connection import client, talks
from cdmd.cli.control_doctor import diagnosis
from cdmd.cli.redacting import Redaction
from cdmd.cli.surroundings import service_log
from cdmd.cli.terminal import note
from cdmd.kit.measures import size

_LETTERS: Final = 1000
_ROWS: Final = 500


@click.command("support-bundle")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--redact/--plain", default=True, show_default=True, help="Take out hosts, paths, names and addresses.")
@talks
def support_bundle(file: Path, redact: bool) -> None:
    r"""Write what somebody who helps needs to see.

    Status, settings, findings, figures, log. There is no event and no customer in it, and no secret. Unless it is plain, hosts,
    addresses, paths, names of users and ids are replaced as well. Read it before you send it.

    \b
    cdmctl support-bundle cdmd-support.tar.gz
    """
    if file.exists():
        raise click.ClickException(f"{file} exists already: name another file, or remove it")
    members = redacted(collected()) if redact else {name: _encoded(found) for name, found in collected().items()}
    try:
        _write(file, members)
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}") from error
    note(f"wrote {file} ({size(file.stat().st_size)}): {', '.join(members)}")


def collected() -> dict[str, Any]:
    """The members by name, not redacted: documents, and text as it is. Raises ``Unreachable`` and ``NotPermitted``."""
    asked = client()
    letters = asked.get("/v1/dead-letters", {"limit": _LETTERS})
    return {
        "versions.json": _versions(),
        "config.json": asked.get("/v1/config"),
        "status.json": asked.get("/v1/status"),
        "doctor.json": [one._asdict() for one in diagnosis(deep=False)],
        "dead-letters.json": [{key: value for key, value in row.items() if key != "id"} for row in letters],
        "audit.json": asked.get("/v1/audit", {"limit": _ROWS}),
        "metrics.txt": asked.text("/v1/metrics"),
        "log.txt": service_log(),
    }


def redacted(members: Mapping[str, Any], *, random: Callable[[int], bytes] = os.urandom) -> dict[str, bytes]:
    """The members with nothing in them that tells whose they are; the configuration first, the others by what was in it."""
    redaction = Redaction(random(32))
    config = redaction.settings(members["config.json"])
    rows = [{**row, "user": redaction.text(row["user"]), "uid": None} for row in members["audit.json"]]
    others = {name: found for name, found in members.items() if name not in {"config.json", "audit.json"}}
    return {
        "config.json": _encoded(config),
        "audit.json": _encoded(redaction.document(rows)),
        **{name: _encoded(redaction.document(found)) for name, found in others.items()},
    }


def _versions() -> dict[str, str]:
    return {
        "cdmd": __version__,
        "python": sys.version.split()[0],
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def _encoded(found: Any) -> bytes:
    return (found if isinstance(found, str) else json.dumps(found, indent=2, ensure_ascii=False) + "\n").encode(
        errors="replace"
    )


def _write(file: Path, members: Mapping[str, bytes]) -> None:
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as archive:
        for name, body in members.items():
            info = tarfile.TarInfo(f"cdmd-support/{name}")
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
