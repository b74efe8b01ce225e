"""Who sends: write keys, known by their digests only, and the signatures that prove whose a user id is.

Everything presented is compared in constant time with every live secret. Not here: what happens with a stranger.
"""

import binascii
import hashlib
import hmac
from collections.abc import Iterator, Sequence
from typing import Final

from cdmd.connectors.application_body import keys_in
from cdmd.kit.secret import Secret
from cdmd.models import Request

_LONGEST: Final = 1024


class WriteKeys:
    """The live write keys of one application. Raises ValueError for an empty one, naming its reference only."""

    def __init__(self, secrets: Sequence[Secret]) -> None:
        self._digests = tuple(hashlib.sha256(_filled(secret)).digest() for secret in secrets)

    def find(self, request: Request) -> int | None:
        """Which of the keys (from 0) the request brings; None where it brings none of them."""
        for key in _presented(request):
            found = _equal(self._digests, hashlib.sha256(key).digest())
            if found is not None:
                return found
        return None


class UserSignatures:
    """Secrets with which a service of the owner's signs user ids. Raises ValueError for an empty one."""

    def __init__(self, secrets: Sequence[Secret]) -> None:
        self._keys = tuple(hmac.new(_filled(secret), digestmod=hashlib.sha256) for secret in secrets)

    def prove(self, user_id: str, signature: object) -> bool:
        """Whether ``signature`` is the HMAC-SHA256 of the user id in hexadecimal, made with any of the secrets."""
        presented = _unhex(signature)
        return presented is not None and _equal([self._made(key, user_id) for key in self._keys], presented) is not None

    @staticmethod
    def _made(key: hmac.HMAC, user_id: str) -> bytes:
        made = key.copy()
        made.update(user_id.encode())
        return made.digest()


def _presented(request: Request) -> Iterator[bytes]:
    """The header's key first. A bearer token may be another system's, so the body's key may still follow it."""
    scheme, _, credentials = (request.header("authorization") or "").partition(" ")
    given = credentials.strip().encode("latin-1", "replace")
    match scheme.lower():
        case "basic":
            if user := _user(given):
                yield user
                return
        case "bearer" if given:
            yield given
    for key in keys_in(request.body):
        yield key.encode("utf-8", "replace")


def _user(credentials: bytes) -> bytes:
    """The user name of Basic credentials, with or without a colon after it; nothing where they cannot be read."""
    try:
        return binascii.a2b_base64(credentials[:_LONGEST], strict_mode=False).partition(b":")[0]
    except binascii.Error:
        return b""


def _unhex(signature: object) -> bytes | None:
    try:
        return binascii.unhexlify(signature) if isinstance(signature, str) else None
    except ValueError:
        return None


def _equal(expected: Sequence[bytes], presented: bytes) -> int | None:
    found: int | None = None
    for index, one in enumerate(expected):
        if hmac.compare_digest(one, presented) and found is None:
            found = index
    return found


def _filled(secret: Secret) -> bytes:
    value = secret.reveal()
    if not value:
        raise ValueError(f"the secret {secret.reference} is empty")
    return value
