"""What is kept of a register's rows: keyed digests, a status, and the key columns; packed in blocks of a bulk table.

A digest names nobody without the daemon's key. The key columns are kept as they are, for they are all that can be said of a row
when it is gone. Pure; nothing here reads or writes.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Final

import msgspec

ROWS: Final = 4096
"""Rows of a block; only the last one of a table has fewer."""

WIDTH: Final = 8
FIELD: Final = 2
PRESENT: Final = 0
LONGEST_MISSING: Final = 200
HELD: Final = 254
GONE: Final = 255

_NOTHING: Final = bytes(FIELD)
_CACHED: Final = 4096
_ENCODE: Final = msgspec.msgpack.Encoder(order="deterministic").encode


class Block(msgspec.Struct, array_like=True):
    """Up to ``ROWS`` rows, column by column: digests of the lines and keys (8 bytes each), status, fields, key columns.

    A status is 0, the number of registers in a row that the row was missing from, ``HELD`` (its removal waits for approval) or
    ``GONE``. ``fields`` are two bytes for each column, which say what was changed; ``values`` 8 bytes of all of them, which say
    whether something was (zeros where an older version wrote the row); ``texts`` the key columns' values as MessagePack.
    """

    lines: bytes
    keys: bytes
    status: bytes
    fields: bytes
    texts: list[bytes]
    values: bytes = b""


def in_bytes(value: Any) -> bytes:
    """What is compared of a value: the same bytes for the same one, also where MessagePack has no form for its parts."""
    try:
        return _ENCODE(value)
    except (OverflowError, UnicodeEncodeError):
        return json.dumps(value, sort_keys=True).encode()


def pack(block: Block) -> bytes:
    """The block's bytes."""
    return _ENCODE(block)


_DECODE: Final = msgspec.msgpack.Decoder(Block).decode


def unpack(body: bytes) -> Block:
    """The block that ``pack`` wrote. Raises msgspec.MsgspecError for anything else."""
    block = _DECODE(body)
    block.values = block.values or bytes(WIDTH * len(block.status))
    return block


class Digests:
    """Keyed digests of lines, keys and fields. ``secret`` are 32 bytes; ``columns`` are compared, in this order.

    BLAKE2b with the key in front of the message: it has no length extension, and short messages cost one block instead of two.
    """

    def __init__(self, secret: bytes, *, key: Sequence[str], columns: Sequence[str]) -> None:
        self._line = blake2b(blake2b(secret + b"line", digest_size=16).digest(), digest_size=WIDTH).copy
        self._key = blake2b(secret + b"key", digest_size=16).digest()
        self.key, self.columns = tuple(key), tuple(columns)
        self._fields = [(name, blake2b(secret + b"field" + name.encode(), digest_size=16).digest()) for name in columns]
        self._cache: dict[tuple[str, Any], bytes] = {}

    def line(self, raw: bytes) -> bytes:
        """8 bytes of a record as it came."""
        digest = self._line()
        digest.update(raw)
        return digest.digest()

    def record(self, value: Mapping[str, Any]) -> bytes:
        """8 bytes of the compared columns of a record that have a value, in whatever order they stand."""
        return self.line(in_bytes({name: one for name in self.columns if (one := value.get(name)) is not None}))

    def text(self, value: Mapping[str, Any]) -> bytes | None:
        """The key columns' values, packed; None where one is missing or empty, or is a number beyond 64 bits."""
        values = [value.get(name) for name in self.key]
        with suppress(OverflowError):
            return None if any(one is None or one == "" for one in values) else _ENCODE(values)
        return None

    def of_key(self, text: bytes) -> bytes:
        """8 bytes of ``text``, which is what a row is known by."""
        return blake2b(self._key + text, digest_size=WIDTH).digest()

    def fields(self, value: Mapping[str, Any]) -> bytes:
        """Two bytes for each compared column; zeros where it has no value."""
        cache = self._cache
        if len(cache) > _CACHED:
            cache.clear()
        found = []
        for name, secret in self._fields:
            one = value.get(name)
            if one is None:
                found.append(_NOTHING)
                continue
            if type(one) is not str:
                found.append(blake2b(secret + in_bytes(one), digest_size=FIELD).digest())
                continue
            # Most columns have few values; of a column that names people all differ, and the cache is emptied soon enough.
            kept = cache.get((name, one))
            if kept is None:
                kept = cache[name, one] = blake2b(secret + one.encode("utf-8", "surrogatepass"), digest_size=FIELD).digest()
            found.append(kept)
        return b"".join(found)


def values_of(text: bytes) -> list[Any]:
    """The key columns' values that ``Digests.text`` packed."""
    found: list[Any] = msgspec.msgpack.decode(text)
    return found


def changed(before: bytes, after: bytes, columns: Sequence[str]) -> list[str]:
    """The columns whose digests differ."""
    return [
        name
        for place, name in enumerate(columns)
        if before[place * FIELD : place * FIELD + FIELD] != after[place * FIELD : place * FIELD + FIELD]
    ]


def rearranged(fields: bytes, count: int, *, before: Sequence[str], after: Sequence[str]) -> bytes:
    """The fields of ``count`` rows with the columns ``before`` as fields of the columns ``after``; new ones have no value."""
    if tuple(before) == tuple(after):
        return fields
    old, new = len(before) * FIELD, len(after) * FIELD
    found = bytearray(count * new)
    for place, name in enumerate(after):
        if name in before:
            origin = list(before).index(name)
            for byte in range(FIELD):
                found[place * FIELD + byte :: new] = fields[origin * FIELD + byte :: old]
    return bytes(found)
