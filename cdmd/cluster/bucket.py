"""Where what a journal keeps beside its entries lies: the subjects of its bucket. Not here: what lies there (``beside``)."""

import hashlib
from typing import Final

_LONG: Final = "L"
_LONGEST_KEY: Final = 1_900


class Bucket:
    """Subjects for names and keys of any bytes: hexadecimal, with a token for each part between slashes.

    A key that is too long for that is there by its digest.
    """

    def __init__(self, name: str) -> None:
        self._top = f"$KV.{name}"
        self.everything = f"{self._top}.>"
        self.checkpoint = f"{self._top}.checkpoint"
        self.patches = f"{self._top}.patch.*"

    def patch(self, at: int) -> str:
        """Where the stand-in of a message of the entries lies."""
        return f"{self._top}.patch.{at}"

    def patched(self, subject: str) -> int:
        """The number that ``patch`` was given."""
        return int(subject.rpartition(".")[2])

    def key(self, connector: str, key: bytes) -> str:
        """Where a connector's value lies."""
        if is_long(key):
            return f"{self._of(connector)}.{_LONG}.{digest(key)}"
        return f"{self._of(connector)}.{'.'.join(f'x{part.hex()}' for part in key.split(b'/'))}"

    def under(self, connector: str, prefix: bytes) -> str:
        """A pattern for all keys with that prefix, and maybe others."""
        whole = prefix.split(b"/")[:-1]
        return ".".join([self._of(connector), *(f"x{part.hex()}" for part in whole), ">"])

    def long(self, connector: str) -> str:
        """A pattern for all keys that are there by their digest."""
        return f"{self._of(connector)}.{_LONG}.*"

    @property
    def chunks(self) -> str:
        """A pattern for all parts of values."""
        return f"{self._top}.large.>"

    def chunk(self, subject: str, version: int, number: int) -> str:
        """Where a part of the value of that subject lies."""
        return f"{self.chunks[:-1]}{digest(subject.encode())}.{version}.{number}"

    @property
    def everyone(self) -> str:
        """A pattern for all state."""
        return f"{self._top}.state.>"

    def read(self, subject: str) -> tuple[str, bytes | None]:
        """The connector and the key of a subject; None for one that is there by its digest."""
        connector, *parts = subject.removeprefix(f"{self._top}.state.").split(".")
        key = None if parts[0] == _LONG else b"/".join(bytes.fromhex(part[1:]) for part in parts)
        return bytes.fromhex(connector[1:]).decode(), key

    def _of(self, connector: str) -> str:
        return f"{self._top}.state.x{connector.encode().hex()}"


def is_long(key: bytes) -> bool:
    """Whether a subject cannot hold it: a server takes lines of up to 4,096 bytes."""
    return len(key) > _LONGEST_KEY


def digest(text: bytes) -> str:
    """What a subject has in place of bytes that are too long for it."""
    return hashlib.blake2b(text, digest_size=16).hexdigest()
