"""Public keys as they are handed out by senders: ed25519 and ECDSA over P-256, raw, DER or PEM.

What they verify is decided by ``cdmd.kit.signing``. Not here: private keys, and certificates.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

_SIZE_OF_ED25519: Final = 32


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
    """The key in ``content``: PEM where ``encoding`` says so, 32 raw bytes of ed25519, else DER. Raises ValueError."""
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
    raise ValueError("another kind of key")


def _ecdsa(public: ec.EllipticCurvePublicKey) -> Callable[[bytes, bytes], Any]:
    if not isinstance(public.curve, ec.SECP256R1):
        raise ValueError("another curve")  # noqa: TRY004 - the content is wrong, not the call
    return lambda signature, signed: public.verify(signature, signed, ec.ECDSA(SHA256()))
