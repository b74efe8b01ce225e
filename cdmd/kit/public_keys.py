"""Public keys as they are handed out by senders: ed25519, ECDSA over P-256 and RSA, raw, DER, PEM or JSON Web Keys.

What they verify is decided by ``cdmd.kit.signing``. Not here: private keys, and certificates.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from cdmd.kit.jwt import unpadded
from cdmd.kit.presented import Unproved

_SIZE_OF_ED25519: Final = 32
_LEAST_RSA: Final = 2048


class PublicKey:
    """A key whose private half the sender keeps."""

    def __init__(self, verify: Callable[[bytes, bytes], Any]) -> None:
        self._verify = verify

    def proves(self, signed: bytes, candidates: Sequence[bytes]) -> bool:
        """Whether one of ``candidates`` was made over ``signed`` with the private half."""
        return any(self._fits(signed, candidate) for candidate in candidates)

    def _fits(self, signed: bytes, candidate: bytes) -> bool:
        try:
            self._verify(candidate, signed)
        except InvalidSignature:
            return False
        return True


def public_key(algorithm: str, content: bytes, *, encoding: str) -> PublicKey:
    """The key in ``content``: PEM or JWK where ``encoding`` says so, 32 raw bytes of ed25519, else DER. Raises ValueError."""
    if algorithm == "jwt-rs256" and encoding == "jwk":
        return PublicKey(_rsa(web_keys(content)))
    if algorithm == "ed25519" and encoding in {"base64", "hex"} and len(content) == _SIZE_OF_ED25519:
        return PublicKey(Ed25519PublicKey.from_public_bytes(content).verify)
    try:
        public = load_pem_public_key(content) if encoding == "pem" else load_der_public_key(content)
    except UnsupportedAlgorithm:
        raise ValueError("a kind of key that is not known") from None
    if algorithm == "ed25519" and isinstance(public, Ed25519PublicKey):
        return PublicKey(public.verify)
    if algorithm == "ecdsa-p256-sha256" and isinstance(public, ec.EllipticCurvePublicKey):
        return PublicKey(_ecdsa(public))
    if algorithm == "jwt-rs256" and isinstance(public, rsa.RSAPublicKey):
        return PublicKey(_rsa([public]))
    raise ValueError("another kind of key")


def _ecdsa(public: ec.EllipticCurvePublicKey) -> Callable[[bytes, bytes], Any]:
    if not isinstance(public.curve, ec.SECP256R1):
        raise ValueError("another curve")  # noqa: TRY004 - the content is wrong, not the call
    return lambda signature, signed: public.verify(signature, signed, ec.ECDSA(SHA256()))


def web_keys(content: bytes) -> list[rsa.RSAPublicKey]:
    """The RSA keys of a JSON Web Key, or of a set of them (RFC 7517). Raises ValueError."""
    try:
        document = msgspec.json.decode(content, type=_WebKeys)
        found = [one for one in (document.keys or [document]) if one.kty == "RSA" and one.n and one.e]
        keys = [rsa.RSAPublicNumbers(_number(one.e), _number(one.n)).public_key() for one in found]
    except (msgspec.DecodeError, Unproved, ValueError):
        raise ValueError("no JSON Web Key") from None
    if not keys:
        raise ValueError("no RSA key")
    return keys


class _WebKey(msgspec.Struct, frozen=True):
    kty: str = ""
    n: str = ""
    e: str = ""


class _WebKeys(_WebKey, frozen=True):
    keys: list[_WebKey] | None = None


def _number(text: str) -> int:
    return int.from_bytes(unpadded(text))


def _rsa(keys: Sequence[rsa.RSAPublicKey]) -> Callable[[bytes, bytes], Any]:
    """PKCS #1 v1.5 with SHA-256, by any of the keys."""
    if any(one.key_size < _LEAST_RSA for one in keys):
        raise ValueError("a key that is too short")

    def verify(signature: bytes, signed: bytes) -> None:
        for one in keys[:-1]:
            try:
                one.verify(signature, signed, padding.PKCS1v15(), SHA256())
            except InvalidSignature:
                continue
            return
        keys[-1].verify(signature, signed, padding.PKCS1v15(), SHA256())

    return verify
