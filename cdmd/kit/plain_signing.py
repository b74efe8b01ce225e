"""The common case of a signature as one function: an HMAC in a header over the body, and over other headers beside it.

Plain is a scheme with one algorithm whose parts each stand in one header, and a request that has each of them once. Whatever is
any other way is left to ``cdmd.kit.signing``, which decides and says why it refuses; what is proved here would be proved there
(tests/kit/test_plain_signing.py compares them). It is there because most of a verification's cost were steps from one part of a
scheme to the next (tests/bench/intake.py).
"""

import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from cdmd.kit.proofs import Key
from cdmd.kit.schemes import HMAC_DIGESTS, PLACEHOLDER, TOLERANCE, At, Scheme

Plainly: TypeAlias = Callable[[Mapping[str, str], bytes, float], int | None]
"""Which key (by its place) signed, of the headers by name, the body and the moment in Unix seconds; None where that is open."""

LONGEST_NUMBER: Final = 15


def plainly(scheme: Scheme, keys: Sequence[tuple[int, Key]]) -> Plainly | None:
    """The function for a scheme and its keys with their places; None where the scheme is not plain."""
    signature = scheme.signature
    if signature is None or not _is_plain(scheme):
        return None
    where, prefix, skip = _header(signature), signature.prefix, len(signature.prefix)
    base64 = signature.encoding == "base64"
    stamped = None if scheme.timestamp is None else _header(scheme.timestamp)
    oldest = TOLERANCE if scheme.tolerance is None else scheme.tolerance
    newest = oldest if scheme.tolerance_future is None else scheme.tolerance_future
    form, parts = _signed(scheme)

    def verified(named: Mapping[str, str], body: bytes, now: float) -> int | None:
        text = named.get(where, "")
        if not text.startswith(prefix):
            return None
        if stamped is not None and not _fresh(named.get(stamped, ""), now, oldest, newest):
            return None
        try:
            offered = binascii.a2b_base64(text[skip:], strict_mode=True) if base64 else binascii.unhexlify(text[skip:])
            signed = _spelt(form, parts, named, body) if parts else body
        except (ValueError, KeyError):
            return None
        found, candidates = None, (offered,)
        for place, key in keys:  # all of them, as the time taken must not say which
            if key.proves(signed, candidates) and found is None:
                found = place
        return found

    return verified


def _fresh(written: str, now: float, oldest: int, newest: int) -> bool:
    if not (written.isdigit() and written.isascii() and len(written) <= LONGEST_NUMBER):
        return False
    return -newest <= now - int(written) <= oldest


def _spelt(form: bytes, parts: Sequence[str | None], named: Mapping[str, str], body: bytes) -> bytes:
    """What was signed. Raises KeyError and ValueError where something of it is not there or empty."""
    said = [body if name is None else named[name].encode("latin-1") for name in parts]
    if not all(said):
        raise ValueError("a part of what was signed is empty")
    return form % tuple(said)


def _is_plain(scheme: Scheme) -> bool:
    signature, timestamp = scheme.signature, scheme.timestamp
    return (
        signature is not None
        and scheme.algorithm in HMAC_DIGESTS
        and scheme.algorithm_from is None
        and scheme.body_hash is None
        and _in_one_header(signature)
        and "|" not in signature.prefix
        and (timestamp is None or (_in_one_header(timestamp) and not timestamp.prefix and timestamp.unit == "s"))
        and all(word in {"body", "timestamp"} or (word.startswith("header:") and "|" not in word) for word in scheme.words)
    )


def _in_one_header(at: At) -> bool:
    return at.header is not None and "|" not in at.header


def _header(at: At) -> str:
    return (at.header or "").strip().lower()


def _signed(scheme: Scheme) -> tuple[bytes, Sequence[str | None]]:
    """What was signed as a pattern, and the headers (None: the body) that fill it; no headers where it is the body alone."""
    if scheme.signed in {None, "{body}"}:
        return b"", ()
    pieces = PLACEHOLDER.split(scheme.signed or "")
    form = "%b".join(piece.replace("%", "%%") for piece in pieces[::2])
    return form.encode(), [_filling(word, scheme) for word in pieces[1::2]]


def _filling(word: str, scheme: Scheme) -> str | None:
    if word == "timestamp" and scheme.timestamp is not None:
        return _header(scheme.timestamp)
    return None if word == "body" else word.partition(":")[2].strip().lower()
