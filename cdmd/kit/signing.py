"""Who sent this? A ``Verifier`` holds a scheme and its live secrets and decides about one request.

Pure: headers, body and the time are handed in, and whatever a stranger sends ends in ``Refused``, never in an exception.
The vocabulary is ``cdmd.kit.schemes``. Not here: signing what leaves, handshakes.
"""

import binascii
import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

import msgspec

from cdmd.kit.schemes import HMAC_DIGESTS, PLACEHOLDER, Headers, KeyForm, Scheme
from cdmd.kit.secret import Secret

Reason: TypeAlias = Literal["missing", "ambiguous", "malformed", "mismatch", "expired", "future"]

# In the parts of a template these stand apart from names of headers, which have no braces.
_BODY, _METHOD, _TIMESTAMP = "{body}", "{method}", "{timestamp}"
_MOST_CANDIDATES: Final = 32
_LONGEST_NUMBER: Final = 15


class Verified(msgspec.Struct, frozen=True):
    """The request is the sender's; ``secret_index`` says which secret proved it (None where there are none)."""

    secret_index: int | None


class Refused(msgspec.Struct, frozen=True):
    """The request proves nothing. ``reason`` is for counters and logs only: every refusal looks the same outside."""

    reason: Reason


class Verifier:
    """A scheme with its live secrets. Raises ValueError for a secret that cannot be a key (naming its reference only)."""

    def __init__(self, scheme: Scheme, secrets: Sequence[Secret]) -> None:
        self.scheme = scheme
        if (scheme.algorithm == "none") == bool(secrets):
            raise ValueError("`none` takes no secrets" if secrets else "secrets are needed to verify with")
        # Prepared with the key, copied for every request: ``hmac.digest`` would let go of the interpreter each time.
        self._hmacs: tuple[hmac.HMAC, ...] = ()
        self._passwords: tuple[bytes, ...] = ()
        if scheme.signs:
            digest = HMAC_DIGESTS[scheme.algorithm]
            self._hmacs = tuple(hmac.new(_key(scheme.key, secret), digestmod=digest) for secret in secrets)
        else:
            self._passwords = tuple(hashlib.sha256(_filled(secret)).digest() for secret in secrets)
        pieces = enumerate(PLACEHOLDER.split(scheme.signed))
        self._parts = tuple(_part(piece) if index % 2 else piece.encode() for index, piece in pieces if piece)
        self._header = scheme.signature.header.lower() if scheme.signature else "authorization"
        at = scheme.timestamp
        self._timestamp_header = at.header.lower() if at is not None and at.header is not None else None
        self._prefix = f"{scheme.algorithm} "

    def verify(self, headers: Headers, body: bytes, *, method: str, now: datetime) -> Verified | Refused:
        """Decide about one request: ``body`` is the raw bytes, ``headers`` have lower-case names."""
        if self.scheme.algorithm == "none":
            return Verified(None)
        presented = [value for name, value in headers if name == self._header]
        if len(presented) != 1:
            return Refused("ambiguous" if presented else "missing")
        if self.scheme.signature is None:
            return self._check_password(presented[0])
        return self._check_signature(presented[0], headers, body, method=method, now=now)

    def _check_signature(
        self, presented: str, headers: Headers, body: bytes, *, method: str, now: datetime
    ) -> Verified | Refused:
        """All secrets against all candidates, then the time: what was not signed by a known key says nothing about time."""
        timestamp = self._timestamp(presented, headers)
        if timestamp is not None and not isinstance(timestamp, str):
            return timestamp
        signed = self._signed(headers, body, method=method, timestamp=timestamp)
        if not isinstance(signed, bytes):
            return signed
        candidates = self._candidates(presented)
        if candidates is None:
            return Refused("malformed")
        found: int | None = None
        for index, keyed in enumerate(self._hmacs):
            made = keyed.copy()
            made.update(signed)
            expected = made.digest()
            for candidate in candidates:
                if hmac.compare_digest(expected, candidate) and found is None:
                    found = index
        if found is None:
            return Refused("mismatch")
        late = self._outside(timestamp, now)
        return Verified(found) if late is None else Refused(late)

    def _candidates(self, presented: str) -> list[bytes] | None:
        """The decoded signatures offered, or None where there is no readable one or there are too many."""
        at = self.scheme.signature
        if at is None:
            return None
        items = [presented] if at.split is None else presented.split(at.split)
        offered = [item.removeprefix(at.prefix) for item in map(str.strip, items) if item.startswith(at.prefix)]
        if not offered or len(offered) > _MOST_CANDIDATES:
            return None
        return [candidate for text in offered if (candidate := _decode(text, at.encoding))] or None

    def _timestamp(self, presented: str, headers: Headers) -> str | Refused | None:
        """The text of the time of signing, as it was signed; None where the scheme has none."""
        at = self.scheme.timestamp
        if at is None:
            return None
        wanted = self._timestamp_header
        if wanted is not None:
            found = [value for name, value in headers if name == wanted]
        else:
            split = self.scheme.signature.split if self.scheme.signature else None
            found = [item.strip() for item in presented.split(split or ",")]
            found = [item for item in found if item.startswith(at.prefix)]
        if len(found) != 1:
            return Refused("ambiguous" if found else "missing")
        if not found[0].startswith(at.prefix):
            return Refused("malformed")
        text = found[0].removeprefix(at.prefix)
        return Refused("malformed") if _moment(text, at.unit) is None else text

    def _signed(self, headers: Headers, body: bytes, *, method: str, timestamp: str | None) -> bytes | Refused:
        """The bytes that were signed: in ``_parts`` literals are bytes and placeholders text."""
        if self._parts == (_BODY,):
            return body
        pieces: list[bytes] = []
        for part in self._parts:
            if isinstance(part, bytes):
                pieces.append(part)
            elif part == _BODY:
                pieces.append(body)
            else:
                text = _text_of(part, headers, method=method, timestamp=timestamp)
                if isinstance(text, Refused):
                    return text
                pieces.append(text)
        return b"".join(pieces)

    def _outside(self, timestamp: str | None, now: datetime) -> Literal["expired", "future"] | None:
        """Whether the time of signing lies outside the window around ``now``."""
        at = self.scheme.timestamp
        moment = _moment(timestamp, at.unit) if at is not None and timestamp is not None else None
        if moment is None:
            return None
        age = now.timestamp() - moment
        future = self.scheme.tolerance if self.scheme.tolerance_future is None else self.scheme.tolerance_future
        if age > self.scheme.tolerance:
            return "expired"
        return "future" if -age > future else None

    def _check_password(self, presented: str) -> Verified | Refused:
        """A token or user:password: digests are compared, so that not even the length shows in the time taken."""
        if presented[: len(self._prefix)].lower() != self._prefix:
            return Refused("malformed")
        offered = presented[len(self._prefix) :].strip(" ")
        password = _decode(offered, "base64") if self.scheme.algorithm == "basic" else _encoded(offered)
        if not password:
            return Refused("malformed")
        digest = hashlib.sha256(password).digest()
        found: int | None = None
        for index, key in enumerate(self._passwords):
            if hmac.compare_digest(digest, key) and found is None:
                found = index
        return Refused("mismatch") if found is None else Verified(found)


def _part(word: str) -> str:
    """A placeholder's word, or the lower-case name of the header that it stands for."""
    return word.removeprefix("header:").lower() if word.startswith("header:") else f"{{{word}}}"


def _text_of(part: str, headers: Headers, *, method: str, timestamp: str | None) -> bytes | Refused:
    """What a part other than the body stands for; a header that is signed must be there exactly once."""
    if part == _METHOD:
        return method.encode()
    found = [timestamp or ""] if part == _TIMESTAMP else [value for name, value in headers if name == part]
    if len(found) != 1 or not found[0]:
        return Refused("ambiguous" if len(found) > 1 else "missing")
    return _encoded(found[0]) or Refused("malformed")


def _key(form: KeyForm, secret: Secret) -> bytes:
    text = _filled(secret).removeprefix(form.strip.encode())
    try:
        if form.encoding == "base64":
            text = binascii.a2b_base64(text + b"=" * (-len(text) % 4), strict_mode=True)
        elif form.encoding == "hex":
            text = binascii.unhexlify(text)
    except binascii.Error:
        raise ValueError(f"the secret {secret.reference} is not {form.encoding}") from None
    if not text:
        raise ValueError(f"the secret {secret.reference} holds no key")
    return text


def _filled(secret: Secret) -> bytes:
    value = secret.reveal()
    if not value:
        raise ValueError(f"the secret {secret.reference} is empty")
    return value


def _decode(text: str, encoding: Literal["hex", "base64"]) -> bytes | None:
    """Strictly decoded bytes, None where the text is anything else (white space and wrong padding included)."""
    try:
        return binascii.unhexlify(text) if encoding == "hex" else binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return None


def _encoded(text: str) -> bytes | None:
    """A header's text back as the bytes that were on the wire; None where it never was a header."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return None


def _moment(text: str, unit: Literal["s", "ms", "iso8601"]) -> float | None:
    """Seconds since the epoch, None where the text is no such time."""
    if unit == "iso8601":
        try:
            moment = datetime.fromisoformat(text)
            return moment.astimezone(UTC).timestamp() if moment.tzinfo is not None else None
        except (ValueError, OverflowError):
            return None
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER):
        return None
    return int(text) if unit == "s" else int(text) / 1000
