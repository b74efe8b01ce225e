"""What keeps a page from being used against the one who looks at it: headers, a token in every form, sentences that are ours.

The token is a digest of the caller's user id under a key that this run of the daemon drew: a strange page cannot know it, and
nobody has to be remembered.
"""

import hmac
from base64 import b64encode
from collections.abc import Mapping
from hashlib import blake2b, sha384
from typing import Final

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "same-origin",  # with no-referrer a browser says of our own forms that their origin is null
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}


class Guard:
    """Signs with ``key``."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def token(self, uid: int | None) -> str:
        """What a form of this user has to bring back."""
        return self._mark(f"form {uid}")

    def is_token(self, uid: int | None, given: str) -> bool:
        """Whether it is that user's."""
        return hmac.compare_digest(self.token(uid).encode(), given.encode(errors="replace"))

    def signed(self, sentence: str) -> str:
        """A sentence that may stand in an address and be shown from there."""
        return f"{self._mark(f'said {sentence}')}.{sentence}"

    def sentence(self, signed: str) -> str | None:
        """The sentence, if it is ours: nobody else writes on our pages."""
        mark, _, sentence = signed.partition(".")
        fits = hmac.compare_digest(self._mark(f"said {sentence}").encode(), mark.encode(errors="replace"))
        return sentence if fits and sentence else None

    def _mark(self, text: str) -> str:
        return blake2b(text.encode(errors="replace"), key=self._key, digest_size=18).hexdigest()


def integrity(content: bytes) -> str:
    """What a page says of a script or style that it names, so that no other is run (Subresource Integrity, SHA-384)."""
    return f"sha384-{b64encode(sha384(content).digest()).decode()}"
