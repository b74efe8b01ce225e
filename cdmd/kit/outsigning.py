"""Signing what leaves as the Standard Webhooks do: ``v1`` (HMAC-SHA256) and ``v1a`` (Ed25519), by every secret that is live.

Pure: id, time and body are handed in. Format: https://github.com/standard-webhooks/standard-webhooks (spec, 1.0). Verifying is
``cdmd.kit.signing``.
"""

import base64
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Final, TypeAlias

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Meta

from cdmd.kit.proofs import Hmac, key_bytes
from cdmd.kit.schemes import KeyForm
from cdmd.kit.secret import Secret

_SHARED: Final = KeyForm(strip="whsec_", encoding="base64")
_PRIVATE: Final = KeyForm(strip="whsk_", encoding="base64")
_SHORTEST, _LONGEST = 24, 64
_SEED: Final = 32

Sign: TypeAlias = Callable[[bytes], bytes]


class ExpiringSecret(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A secret that is being rotated out: it signs, beside the others, until a moment."""

    secret: Annotated[Secret, Meta(description="The secret.")]
    until: Annotated[str, Meta(description="When it stops signing (RFC 3339 with a time zone).")]


class Signer:
    """The live secrets, in their order. Raises ValueError for one that cannot be a key, naming its reference only."""

    def __init__(self, secrets: Sequence[Secret | ExpiringSecret]) -> None:
        self._keys = [_key(one) for one in secrets]

    def headers(self, id: str, body: bytes, now: datetime) -> dict[str, str]:  # noqa: A002 - the message's own word
        """``webhook-id``, ``webhook-timestamp`` and ``webhook-signature``: one of each secret that is live ``now``."""
        seconds = str(int(now.timestamp()))
        signed = b".".join((id.encode(), seconds.encode(), body))
        signatures = [
            f"{version},{base64.b64encode(sign(signed)).decode()}"
            for version, sign, until in self._keys
            if until is None or now < until
        ]
        return {"webhook-id": id, "webhook-timestamp": seconds, "webhook-signature": " ".join(signatures)}


def _key(one: Secret | ExpiringSecret) -> tuple[str, Sign, datetime | None]:
    secret, until = (one.secret, moment(one.until)) if isinstance(one, ExpiringSecret) else (one, None)
    if secret.reveal().startswith(b"whsk_"):
        return "v1a", _private(secret), until
    content = key_bytes(_SHARED, secret)
    if not _SHORTEST <= len(content) <= _LONGEST:
        raise ValueError(
            f"the secret {secret.reference} is of {len(content)} bytes, which should be {_SHORTEST} to {_LONGEST}: "
            'make one with: echo "whsec_$(openssl rand -base64 32)"'
        )
    return "v1", Hmac(content, "sha256").sign, until


def _private(secret: Secret) -> Sign:
    content = key_bytes(_PRIVATE, secret)
    if len(content) not in {_SEED, 2 * _SEED}:  # the seed alone, or with the public key behind it
        raise ValueError(f"the secret {secret.reference} is no private key for Ed25519")
    return Ed25519PrivateKey.from_private_bytes(content[:_SEED]).sign


def moment(text: str) -> datetime:
    """An RFC 3339 time with its zone. Raises ValueError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time: write 2026-12-24T00:00:00Z") from None
    if found.tzinfo is None:
        raise ValueError(f"{text!r} needs a time zone: write 2026-12-24T00:00:00Z")
    return found
