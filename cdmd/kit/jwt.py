"""JSON Web Tokens signed with RS256 (RFC 7515, RFC 7519), as some senders put one beside each delivery: text in, claims out.

What is malformed raises ``Unproved``. Which key fits and which claims must say what is decided by ``cdmd.kit.signing``. Not
here: other algorithms (a token never chooses its own), encrypted tokens, fetching keys.
"""

import binascii
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from cdmd.kit.json_text import NotJson, decode_json
from cdmd.kit.presented import Unproved

_PARTS: Final = 3
_LONGEST: Final = 16_384
_URL_SAFE: Final = str.maketrans("-_", "+/")


class Token(msgspec.Struct, frozen=True):
    """A token that is well formed and says RS256: the bytes that were signed, their signature, and what it claims."""

    signed: bytes
    signature: bytes
    claims: Mapping[str, Any]

    def says(self, name: str, wanted: str) -> bool:
        """Whether the claim is this text, number or word (``true``), or a list that holds it (``aud`` may be one)."""
        value = self.claims.get(name)
        said = value if isinstance(value, list) else [value]
        return any(_shown(one) == wanted for one in said if isinstance(one, str | int))

    def moment(self, name: str) -> float | None:
        """A claim that is a time, in seconds; None where it is missing. Raises Unproved for anything else."""
        value = self.claims.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Unproved("malformed")
        return float(value)


def read(text: str) -> Token:
    """The token in ``text``. Raises Unproved."""
    parts = text.split(".")
    if len(parts) != _PARTS or len(text) > _LONGEST or not text.isascii():
        raise Unproved("malformed")
    header, claims = _object(parts[0]), _object(parts[1])
    if header.get("alg") != "RS256" or "crit" in header:
        raise Unproved("malformed")
    return Token(f"{parts[0]}.{parts[1]}".encode(), unpadded(parts[2]), claims)


def unpadded(text: str) -> bytes:
    """What base64url without padding spells. Raises Unproved."""
    if "=" in text:
        raise Unproved("malformed")
    try:
        return binascii.a2b_base64(text.translate(_URL_SAFE) + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError:
        raise Unproved("malformed") from None


def _shown(one: str | int) -> str:
    return str(one).lower() if isinstance(one, bool) else str(one)


def _object(text: str) -> dict[str, Any]:
    try:
        value = decode_json(unpadded(text))
    except NotJson:
        raise Unproved("malformed") from None
    if not isinstance(value, dict):
        raise Unproved("malformed")
    return value
