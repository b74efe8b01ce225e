"""Where secrets come from: ``env:NAME``, ``file:PATH``, ``credential:NAME``; and the token of the default connector.

Messages name the reference, never a value.
"""

import base64
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from typing_extensions import override

from cdmd.kit.secret import Secret

PREFIXES: Final = ("env:", "file:", "credential:")
LITERAL: Final = "[secret]"
_SECRET_NAME: Final = re.compile(r"secret|token|passw|passphrase|credential|api_?key|private_?key|^key$|_key$", re.IGNORECASE)
_LARGEST: Final = 2**20
_TOKEN_BYTES: Final = 24
_STAND_IN: Final = b"stand-in"


def names_a_secret(name: str) -> bool:
    """Whether a key of this name most likely holds a secret: what a plugin's own table says is not declared anywhere."""
    return _SECRET_NAME.search(name) is not None


def files_named(tables: object, folder: Path) -> Iterator[Path]:
    """Each file that a ``file:`` reference anywhere in ``tables`` names, whether it is there or not; ``folder`` as below."""
    if isinstance(tables, Mapping):
        for one in tables.values():
            yield from files_named(one, folder)
    elif isinstance(tables, list):
        for one in tables:
            yield from files_named(one, folder)
    elif isinstance(tables, str) and tables.startswith("file:") and "\0" not in tables:
        path = folder / tables.removeprefix("file:")
        if not os.path.isdir(path):  # noqa: PTH112 - one that may not be looked at is none
            yield path


class Secrets:
    """Resolves references; ``folder`` is what a relative ``file:`` path is relative to."""

    def __init__(self, environment: Mapping[str, str], *, folder: Path) -> None:
        self._environment, self._folder = environment, folder

    def resolve(self, reference: str) -> Secret:
        """The secret behind ``reference``, or a literal; raises ValueError naming a reference that leads nowhere."""
        scheme, colon, name = reference.partition(":")
        if scheme + colon not in PREFIXES:
            value = reference.encode()
            reference = LITERAL
        elif not name:
            raise ValueError(f"{reference} names nothing after the colon")
        elif scheme == "env":
            value = self._from_environment(name, reference)
        elif scheme == "file":
            value = _read(self._folder / name, reference)
        else:
            value = self._from_credential(name, reference)
        if not value:
            raise ValueError(f"the secret {reference} is empty")
        return Secret(value, reference=reference)

    def open_to_others(self, reference: str) -> bool:
        """Whether ``reference`` is a ``file:`` that every user of the machine may read."""
        scheme, _, name = reference.partition(":")
        try:
            return scheme == "file" and bool((self._folder / name).stat().st_mode & stat.S_IROTH)
        except (OSError, ValueError):
            return False

    def _from_environment(self, name: str, reference: str) -> bytes:
        if name not in self._environment:
            raise ValueError(f"{reference} is not set in the environment")
        return os.fsencode(self._environment[name])

    def _from_credential(self, name: str, reference: str) -> bytes:
        folder = self._environment.get("CREDENTIALS_DIRECTORY")
        if "/" in name or name in {".", ".."}:
            raise ValueError(f"{reference} is not the name of a credential")
        if not folder:
            raise ValueError(
                f"{reference} cannot be read: CREDENTIALS_DIRECTORY is not set (systemd sets it with LoadCredential=)"
            )
        return _read(Path(folder, name), reference)


class StandIns(Secrets):
    """Takes references that lead nowhere, too: for what is tested away from its secrets."""

    @override
    def resolve(self, reference: str) -> Secret:
        """The secret where it is there, else a text in its place."""
        try:
            return super().resolve(reference)
        except ValueError:
            return Secret(_STAND_IN, reference=reference)


def _read(path: Path, reference: str) -> bytes:
    try:
        with path.open("rb") as file:
            value = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise ValueError(f"{reference} cannot be read: {reason}") from None
    if len(value) > _LARGEST:
        raise ValueError(f"{reference} is larger than 1MiB")
    return value.removesuffix(b"\n").removesuffix(b"\r")


def make_token(path: Path, *, randomness: Callable[[int], bytes]) -> None:
    """Write a new token to ``path`` (mode 0600, its directory 0700) unless there is one; raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(handle, "wb") as file:
        file.write(token(randomness) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def token(randomness: Callable[[int], bytes]) -> bytes:
    """A bearer token of 192 random bits as URL-safe text."""
    return base64.urlsafe_b64encode(randomness(_TOKEN_BYTES))
