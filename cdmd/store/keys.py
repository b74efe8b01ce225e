"""The digest key: 32 random bytes in a file apart from the databases, and the digests made with it.

Digests instead of ids: what is remembered for 400 days of an occurrence names nobody, and without the key file nobody can
try ids against it. Not here: where digests are kept.
"""

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from typing_extensions import override

from cdmd.errors import Damaged, NotDurable
from cdmd.models import Digest, Event
from cdmd.store.mark import sync_directory

KEY_BYTES: Final = 32
STRANGERS: Final = {
    "journal_id": "the store belongs to another journal; put both of one backup in place with: cdmd restore FILE",
    "key_check": "the store was written with another digest key; put the copy of keys/digest.key that belongs to it back there",
}
"""What is said of a store that does not belong to the journal or the key beside it, by the name of what it remembers."""

FORMS: Final[Mapping[str, Callable[[bytes], re.Match[bytes] | None] | None]] = {
    "": None,
    ":numbered": re.compile(rb"(.*[0-9])[0-9]{3}", re.DOTALL).fullmatch,
    ":last_number": re.compile(rb"(.*[0-9])[0-9]{3}[^0-9]*", re.DOTALL).fullmatch,
}
"""By which digests a store may remember, oldest form first: what each finds in ids whose digests begin alike.

The ids that have the match's first group in common go together: those whose number, of at least four digits, differs in its
last three. It stands at the end (``row:1234``), or is the last one (``1234:paid``), whatever follows it.
"""

NEWEST: Final = ":last_number"
"""The form of a new store."""

_BEGINS: Final = 6
"""Bytes. The ten that are left are the id's own: enough to tell all from one another that begin alike."""

_CANONICAL: Final = msgspec.msgpack.Encoder(order="deterministic").encode


def load_key(path: Path, *, random: Callable[[int], bytes]) -> bytes:
    """The key in ``path``; made with ``random`` (bytes wanted → bytes) where there is none yet. It blocks.

    Raises ``Damaged`` on a file of another size, ``NotDurable`` where the disk refuses.
    """
    try:
        key = path.read_bytes() if path.exists() else _make(path, random(KEY_BYTES))
    except OSError as error:
        raise NotDurable(f"the digest key {path} cannot be read or made: {error.strerror}") from error
    if len(key) != KEY_BYTES:
        raise Damaged(f"{path} does not hold a key of {KEY_BYTES} bytes; put the exported key back in its place")
    return key


def _make(path: Path, key: bytes) -> bytes:
    fresh = path.with_name(path.name + ".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_directory(path.parent)
    return key


def _again(key: bytes, named: Callable[[str], str], form: str) -> "Digester":
    return Digester(key, named=named, form=form)


class Digester:
    """Keyed BLAKE2b digests of occurrences and of contents.

    ``named`` gives the name that a source is digested by: its first one, however often its connector was renamed since.
    ``form`` is one of ``FORMS``. A new store has the newest; an older one says which it has, and goes on with that for good:
    what it remembers by it would be taken for new otherwise.
    """

    def __init__(self, key: bytes, *, named: Callable[[str], str] = str, form: str = NEWEST) -> None:
        self._named, self.form = named, form
        self._occurrence = hashlib.blake2b(key=key, digest_size=16, person=b"cdmd occurrence")
        self._begun = "", self._begin("")
        self._near: tuple[bytes, str, bytes] = b"", "", b""
        self._key = key
        self._content = hashlib.blake2b(key=key, digest_size=8, person=b"cdmd content")

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, in another process too, is made with the same key."""
        return _again, (self._key, self._named, self.form)

    def occurrence(self, source: str, id: str) -> Digest:  # noqa: A002 - the field's own name
        """16 bytes that name (source, id); the source's length in front keeps ("a", "bc") and ("ab", "c") apart.

        Those of ids with a number, as rows of a file and orders have one, begin alike a thousand at a time: a batch of them is
        remembered on a few pages, not on one for each (tests/bench/bulk.py and end_to_end.py). What they begin with is a
        digest, too.
        """
        name, text = self._named(source), id.encode()
        begun = self._begun  # once: threads share it
        if begun[0] != name:
            begun = self._begun = name, self._begin(name)
        digest = begun[1].copy()
        digest.update(text)
        find = FORMS[self.form]
        if find is None or (found := find(text)) is None:
            return Digest(digest.digest())
        return Digest(self._together(begun, found[1]) + digest.digest()[_BEGINS:])

    def _begin(self, name: str) -> "hashlib.blake2b":
        """The digest of an occurrence of that source before its id."""
        encoded = name.encode()
        digest = self._occurrence.copy()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
        return digest

    def _together(self, begun: "tuple[str, hashlib.blake2b]", stem: bytes) -> bytes:
        """What the digests of a source's ids begin with that begin with ``stem``."""
        near = self._near
        if near[0] != stem or near[1] != begun[0]:
            digest = begun[1].copy()
            digest.update(stem)
            near = self._near = stem, begun[0], digest.digest()[:_BEGINS]
        return near[2]

    def secret(self, connector: str, purpose: str) -> bytes:
        """32 bytes to key a connector's own digests with; another purpose has another key."""
        name = self._named(connector).encode()
        digest = hashlib.blake2b(key=self._key, digest_size=32, person=b"cdmd connector")
        digest.update(len(name).to_bytes(4, "big") + name + purpose.encode())
        return digest.digest()

    def content(self, event: Event) -> int:
        """A signed 64-bit number of all that the event says, whenever and however often it was received."""
        digest = self._content.copy()
        digest.update(_CANONICAL((event.type, event.time, event.identifiers, event.traits, event.data)))
        return int.from_bytes(digest.digest(), "big", signed=True)
