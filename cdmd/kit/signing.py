"""Who sent this? A ``Verifier`` holds a scheme and its live secrets and decides about one request.

Pure: headers, body, address and the time are handed in, and whatever a stranger sends ends in ``Refused``, never in an
exception. The vocabulary is ``cdmd.kit.schemes``. Not here: signing what leaves, handshakes.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

import msgspec

from cdmd.kit import jwt
from cdmd.kit.plain_signing import LONGEST_NUMBER, plainly
from cdmd.kit.presented import Headers, Presented, Reason, Unproved, named, reader, teller
from cdmd.kit.proofs import Key, decode, filled, key, key_bytes
from cdmd.kit.schemes import PLACEHOLDER, TOLERANCE, Algorithm, At, KeyForm, Scheme, UrlForm
from cdmd.kit.secret import Secret

_MOST_CANDIDATES: Final = 32
_AUTHORIZATION: Final = ("authorization",)
_NO_URL: Final = (b"",)
_ACCESS_TOKEN: Final = reader(At(query="access_token"))

_Signed: TypeAlias = Callable[[Presented, str, bytes], bytes]
"""What was signed, of the request, the time of signing as it was written, and a form of the URL. Raises Unproved."""

_BODY, _TIMESTAMP, _URL = "body", "timestamp", "url"
_Part: TypeAlias = bytes | str | Callable[[Presented], bytes]
"""A piece of that: literals are bytes, these three words are themselves, anything else reads the request."""


class Verified(msgspec.Struct, frozen=True):
    """The request is the sender's; ``secret_index`` says which secret proved it (None where there are none)."""

    secret_index: int | None


class Refused(msgspec.Struct, frozen=True):
    """The request proves nothing. ``reason`` is for counters and logs only: every refusal looks the same outside."""

    reason: Reason


class _Plan(msgspec.Struct, frozen=True):
    """What was signed, and the keys (with their places among the secrets) that may have signed that."""

    signed: _Signed
    keys: tuple[tuple[int, Key], ...]


class Verifier:
    """A scheme with its live secrets. Raises ValueError for a secret that cannot be a key (naming its reference only)."""

    def __init__(self, scheme: Scheme, secrets: Sequence[Secret]) -> None:
        self.scheme = scheme
        if (scheme.algorithm == "none") == bool(secrets):
            raise ValueError("`none` takes no secrets" if secrets else "secrets are needed to verify with")
        self._signature = _no_signature if scheme.signature is None else teller(scheme.signature)
        self._plans: Mapping[Algorithm, Sequence[_Plan]] = {}
        self._passwords: tuple[bytes, ...] = ()
        if scheme.signs:
            self._plans = _plans(scheme, secrets)
        else:
            self._passwords = tuple(hashlib.sha256(filled(secret)).digest() for secret in secrets)
        self._claims = [(name, _spelt(text, b"")) for name, text in (scheme.claims or {}).items()]
        self._fixed = self._plans.get(scheme.algorithm or "none", ())
        self._named, self._signs = scheme.algorithm_from is not None, scheme.signs
        at = scheme.timestamp
        self._timestamp_at = None if at is None or at.origin is not None else teller(at)
        self._hash_at = None if scheme.body_hash is None else reader(scheme.body_hash.at)
        self._urls: tuple[UrlForm, ...] = (scheme.url or ("as-is",)) if scheme.signs_url else ()
        self._tolerance = TOLERANCE if scheme.tolerance is None else scheme.tolerance
        self._future = self._tolerance if scheme.tolerance_future is None else scheme.tolerance_future
        self._prefixes = tuple(scheme.signature.prefix.split("|")) if scheme.signature is not None else ("",)
        self.plainly = plainly(scheme, [key for plan in self._fixed for key in plan.keys])
        self._verified = [Verified(place) for place in range(len(secrets))]

    def verify(
        self,
        headers: Headers,
        body: bytes,
        *,
        method: str,
        now: datetime,
        target: str = "",
        base: str | None = None,
        named: Mapping[str, str] | None = None,
    ) -> Verified | Refused:
        """Decide about one request: ``body`` is the raw bytes, ``headers`` have lower-case names.

        ``target`` is path and query as sent and ``base`` what senders write before it; only some schemes look at them.
        ``named`` are the same headers by name where no name stands twice, if that is known.
        """
        if self.plainly is not None and named is not None:
            found = self.plainly(named, body, now.timestamp())
            if found is not None:
                return self._verified[found]
        if self.scheme.algorithm == "none":
            return Verified(None)
        presented = Presented(headers, body, method=method, target=target, base=base, named=named)
        try:
            if self._claims:
                return self._check_token(presented, now)
            return self._check_signature(presented, now) if self._signs else self._check_password(presented)
        except Unproved as refusal:
            return Refused(refusal.reason)

    def _check_signature(self, presented: Presented, now: datetime) -> Verified | Refused:
        """All secrets against all candidates, then the time: what was not signed by a known key says nothing about time."""
        text = self._signature(presented)
        timestamp, moment = self._timestamp(text, presented)
        candidates = self._candidates(text)
        if self._hash_at is not None:
            self._check_body(presented)
        found: int | None = None
        for plan in self._plans_for(presented) if self._named else self._fixed:
            for url in self._forms(presented) if self._urls else _NO_URL:
                signed = plan.signed(presented, timestamp, url)
                for index, one_key in plan.keys:
                    if one_key.proves(signed, candidates) and found is None:
                        found = index
        if found is None:
            return Refused("mismatch")
        if moment is None:
            return Verified(found)
        age = now.timestamp() - moment
        if age > self._tolerance:
            return Refused("expired")
        return Refused("future") if -age > self._future else Verified(found)

    def _candidates(self, presented: str) -> list[bytes]:
        """The decoded signatures offered. Raises Unproved where there is no readable one or there are too many."""
        at = self.scheme.signature
        if at is None:
            raise Unproved("missing")
        decoded: list[bytes] = []
        offered = 0
        for item in (presented,) if at.split is None else presented.split(at.split):
            text = item.strip()
            for prefix in self._prefixes:
                if text.startswith(prefix):
                    offered += 1
                    if candidate := decode(text[len(prefix) :], at.encoding):
                        decoded.append(candidate)
        if not decoded or offered > _MOST_CANDIDATES:
            raise Unproved("malformed")
        return decoded

    def _timestamp(self, presented: str, request: Presented) -> tuple[str, float | None]:
        """The time of signing: as text, as it was signed, and as seconds; None where the scheme has none. Raises Unproved."""
        at = self.scheme.timestamp
        if at is None:
            return "", None
        if self._timestamp_at is not None:
            found = self._timestamp_at(request)
        else:
            split = self.scheme.signature.split if self.scheme.signature else None
            items = [item.strip() for item in presented.split(split or ",")]
            found = _only([item for item in items if item.startswith(at.prefix)])
        if not found.startswith(at.prefix):
            raise Unproved("malformed")
        text = found[len(at.prefix) :]
        moment = _moment(text, at.unit)
        if moment is None:
            raise Unproved("malformed")
        return text, moment

    def _plans_for(self, presented: Presented) -> Sequence[_Plan]:
        """The plans of the algorithm that a header names, else the scheme's own. Raises Unproved."""
        at = self.scheme.algorithm_from
        said = [] if at is None else named(presented.headers, (at.header.lower(),))
        if at is None or not said:
            return self._fixed
        items = [item.strip() for text in said for item in text.split(at.split or "\0")]
        words = [item.removeprefix(at.prefix) for item in items if item.startswith(at.prefix)]
        if not words:
            return self._fixed
        wanted = at.words.get(_only(words))
        if wanted is None:
            raise Unproved("malformed")
        return self._plans[wanted]

    def _check_body(self, presented: Presented) -> None:
        """The body against its digest in what was signed. A form that is signed itself, or nothing at all, needs none."""
        expected, read = self.scheme.body_hash, self._hash_at
        if expected is None or read is None:
            return
        found = read(presented)
        itself = not presented.body or ("form-sorted" in self.scheme.words and presented.is_form)
        if not found and itself:
            return
        text = _only(found)
        digest = decode(text.removeprefix(expected.prefix), expected.encoding) if text.startswith(expected.prefix) else None
        if digest is None or not hmac.compare_digest(hashlib.new(expected.algorithm, presented.body).digest(), digest):
            raise Unproved("mismatch")

    def _forms(self, presented: Presented) -> Iterable[bytes]:
        """Each form that the URL may have had. Raises Unproved."""
        return dict.fromkeys(presented.url(form) for form in self._urls)

    def _check_token(self, presented: Presented, now: datetime) -> Verified | Refused:
        """A signed token beside the body: by a known key, for what it must claim, and not outlived."""
        token = jwt.read(self._behind_prefix(presented))
        found = next((at for plan in self._fixed for at, key in plan.keys if key.proves(token.signed, [token.signature])), None)
        if found is None:
            return Refused("mismatch")
        for name, spelt in self._claims:
            if not token.says(name, spelt(presented, "", b"").decode("utf-8", "replace")):
                return Refused("mismatch")
        ends, begins = token.moment("exp"), [token.moment("iat"), token.moment("nbf")]
        if ends is None:
            return Refused("malformed")
        if now.timestamp() - ends > self._tolerance:
            return Refused("expired")
        early = any(moment is not None and moment - now.timestamp() > self._future for moment in begins)
        return Refused("future") if early else Verified(found)

    def _behind_prefix(self, presented: Presented) -> str:
        """The text at the signature's place without its prefix. Raises Unproved."""
        text = self._signature(presented)
        prefix = next((prefix for prefix in self._prefixes if text.startswith(prefix)), None)
        if prefix is None:
            raise Unproved("malformed")
        return text.removeprefix(prefix)

    def _check_password(self, presented: Presented) -> Verified | Refused:
        """A token or user:password: digests are compared, so that not even the length shows in the time taken."""
        digest = hashlib.sha256(self._password(presented)).digest()
        found: int | None = None
        for index, expected in enumerate(self._passwords):
            if hmac.compare_digest(digest, expected) and found is None:
                found = index
        return Refused("mismatch") if found is None else Verified(found)

    def _password(self, presented: Presented) -> bytes:
        """What is offered: where the scheme says, else in ``Authorization``, for a bearer also ``?access_token=``."""
        if self.scheme.signature is not None:
            return _encoded(self._behind_prefix(presented))
        basic = self.scheme.algorithm == "basic"
        said = named(presented.headers, _AUTHORIZATION)
        tokens = [] if basic or "access_token=" not in presented.target else _ACCESS_TOKEN(presented)
        if tokens:
            return _encoded(_only([*said, *tokens]))
        word, _, offered = _only(said).partition(" ")
        if word.lower() != self.scheme.algorithm:
            raise Unproved("malformed")
        password = decode(offered.strip(" "), "base64") if basic else _encoded(offered.strip(" "))
        if not password:
            raise Unproved("malformed")
        return password


def _plans(scheme: Scheme, secrets: Sequence[Secret]) -> dict[Algorithm, list[_Plan]]:
    """For every algorithm that may be meant: secrets that sign the same bytes share a plan."""
    algorithms = {scheme.algorithm or "none"} | set(scheme.algorithm_from.words.values() if scheme.algorithm_from else ())
    form = scheme.key or KeyForm()
    made: dict[Algorithm, list[_Plan]] = {}
    for algorithm in algorithms:
        keys = [(index, key(algorithm, form, secret)) for index, secret in enumerate(secrets)]
        if "secret" not in scheme.words:
            made[algorithm] = [_Plan(_signed(scheme, b""), tuple(keys))]
            continue
        made[algorithm] = [
            _Plan(_signed(scheme, key_bytes(form, secret)), (one,)) for secret, one in zip(secrets, keys, strict=True)
        ]
    return made


def _signed(scheme: Scheme, secret: bytes) -> _Signed:
    return _spelt(scheme.signed or "{body}", secret)


def _spelt(text: str, secret: bytes) -> _Signed:
    """A template compiled."""
    pieces = enumerate(PLACEHOLDER.split(text))
    parts = tuple(_part(piece, secret) if index % 2 else piece.encode() for index, piece in pieces if piece)
    if parts == (_BODY,):
        return lambda presented, _timestamp, _url: presented.body

    def spell(presented: Presented, timestamp: str, url: bytes) -> bytes:
        spelt: list[bytes] = []
        for part in parts:
            if isinstance(part, bytes):
                spelt.append(part)
            elif part == _BODY:
                spelt.append(presented.body)
            elif part == _TIMESTAMP:
                spelt.append(timestamp.encode())
            elif part == _URL:
                spelt.append(url)
            elif callable(part):
                spelt.append(part(presented))
        return b"".join(spelt)

    return spell


def _part(word: str, secret: bytes) -> _Part:
    """A placeholder's part: one of the three words, the secret itself, or what reads the request."""
    kind, _, name = word.partition(":")
    if kind == "secret":
        return secret
    if kind == "method":
        return lambda presented: presented.method.encode()
    if kind == "form-sorted":
        return Presented.sorted_form
    if not name:
        return word
    tell = teller(At(**{kind: name}))
    return (lambda presented: _encoded(tell(presented))) if kind == "header" else lambda presented: tell(presented).encode()


def _no_signature(_presented: Presented) -> str:
    return ""


def _only(found: Sequence[str]) -> str:
    if len(found) != 1 or not found[0]:
        raise Unproved("ambiguous" if len(found) > 1 else "missing")
    return found[0]


def _encoded(text: str) -> bytes:
    """A header's text back as the bytes that were on the wire. Raises Unproved where it never was a header."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise Unproved("malformed") from None


def _moment(text: str, unit: Literal["s", "ms", "iso8601"]) -> float | None:
    """Seconds since the epoch, None where the text is no such time."""
    if unit == "iso8601":
        try:
            moment = datetime.fromisoformat(text)
            return moment.astimezone(UTC).timestamp() if moment.tzinfo is not None else None
        except (ValueError, OverflowError):
            return None
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER):
        return None
    return int(text) if unit == "s" else int(text) / 1000
