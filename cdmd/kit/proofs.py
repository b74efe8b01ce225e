"""Keys that prove: a secret and an algorithm become one object that says whether a signature over some bytes is its own.

HMACs and plain digests (the secret is then part of what was signed); public keys are ``cdmd.kit.public_keys``. Not here: what
was signed.
"""

import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Literal, Protocol

from cdmd.kit.public_keys import public_key
from cdmd.kit.schemes import HMAC_DIGESTS, PUBLIC_KEYS, Algorithm, KeyForm
from cdmd.kit.secret import Secret


class Key(Protocol):
    """A key of some algorithm."""

    def proves(self, signed: bytes, candidates: Sequence[bytes]) -> bool:
        """Whether one of ``candidates`` is this key's signature over ``signed``."""
        ...


class Hmac:
    """HMAC (RFC 2104), of which the hashes of the padded key are made once and copied for every request.

    ``hmac.digest`` would let go of the interpreter each time, and ``HMAC.copy`` costs half as much again.
    """

    def __init__(self, key: bytes, digest: str) -> None:
        block = hashlib.new(digest).block_size
        padded = (hashlib.new(digest, key).digest() if len(key) > block else key).ljust(block, b"\0")
        self._inner = hashlib.new(digest, padded.translate(hmac.trans_36))
        self._outer = hashlib.new(digest, padded.translate(hmac.trans_5C))

    def proves(self, signed: bytes, candidates: Sequence[bytes]) -> bool:
        """Whether one of ``candidates`` is this key's signature over ``signed``."""
        return _among(self.sign(signed), candidates)

    def sign(self, signed: bytes) -> bytes:
        """The signature over ``signed``."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(signed)
        outer.update(inner.digest())
        return outer.digest()


class _Plain:
    """A digest without a key: it proves something only where the secret is part of what was signed."""

    def proves(self, signed: bytes, candidates: Sequence[bytes]) -> bool:
        return _among(hashlib.sha256(signed).digest(), candidates)


def key(algorithm: Algorithm, form: KeyForm, secret: Secret) -> Key:
    """The key that a secret is. Raises ValueError, naming the secret's reference only, where it cannot be one."""
    content = key_bytes(form, secret)
    if algorithm in HMAC_DIGESTS:
        return Hmac(content, HMAC_DIGESTS[algorithm])
    if algorithm not in PUBLIC_KEYS:
        return _Plain()
    try:
        return public_key(algorithm, content, encoding=form.encoding)
    except ValueError:
        raise ValueError(f"the secret {secret.reference} is no public key for {algorithm}") from None


def key_bytes(form: KeyForm, secret: Secret) -> bytes:
    """The key's bytes: what is stripped is gone and the rest decoded. Raises ValueError."""
    text = filled(secret).removeprefix(form.strip.encode())
    try:
        if form.encoding in {"base64", "base64-der"}:
            text = binascii.a2b_base64(text + b"=" * (-len(text) % 4), strict_mode=True)
        elif form.encoding == "hex":
            text = binascii.unhexlify(text)
    except binascii.Error:
        raise ValueError(f"the secret {secret.reference} is not {form.encoding.partition('-')[0]}") from None
    if not text:
        raise ValueError(f"the secret {secret.reference} holds no key")
    return text


def filled(secret: Secret) -> bytes:
    """A secret's bytes. Raises ValueError for an empty one."""
    value = secret.reveal()
    if not value:
        raise ValueError(f"the secret {secret.reference} is empty")
    return value


def decode(text: str, encoding: Literal["hex", "base64"]) -> bytes | None:
    """Strictly decoded bytes, None where the text is anything else (white space and wrong padding included)."""
    try:
        return binascii.unhexlify(text) if encoding == "hex" else binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return None


def _among(expected: bytes, candidates: Sequence[bytes]) -> bool:
    found = False
    for candidate in candidates:
        found |= hmac.compare_digest(expected, candidate)
    return found
