"""The suppression list as a file: JSON Lines, a head that says by which key it was made, then a line for each digest."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

import msgspec

from cdmd.errors import BadArguments
from cdmd.models import to_micros
from cdmd.privacy.suppressions import DIGEST_BYTES, Suppression


class _Head(msgspec.Struct, tag_field="type", tag="suppressions"):
    format: Literal[1]
    key: str


class _Row(msgspec.Struct, tag_field="type", tag="suppression"):
    digest: str
    since: datetime
    erased: bool


_LINE: Any = msgspec.json.Decoder(_Head | _Row)


def read_list(lines: Iterable[bytes]) -> tuple[str, dict[bytes, Suppression]]:
    """What the list's key digests a fixed text to, and the list. Raises ``BadArguments`` with the line that is wrong."""
    key: str | None = None
    found: dict[bytes, Suppression] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            one = _LINE.decode(line)
            if isinstance(one, _Head):
                key = one.key
                continue
            digest = bytes.fromhex(one.digest)
        except (msgspec.DecodeError, ValueError) as error:
            raise BadArguments(f"line {number} is none of a suppression list: {error}") from error
        if len(digest) != DIGEST_BYTES or one.since.tzinfo is None:
            raise BadArguments(f"line {number} is none of a suppression list: a digest has {DIGEST_BYTES} bytes, a time a zone")
        found[digest] = Suppression(to_micros(one.since), one.erased)
    if key is None:
        raise BadArguments("this is no suppression list: it does not begin with a line of type suppressions")
    return key, found
