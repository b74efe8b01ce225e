"""One form for each kind of identifier, so that the same person is written the same way. Pure and idempotent.

Conservative: what is unsure has no form (None), for a wrong form joins strangers. No provider's tricks (dots or plus signs in
an address). Not for: deciding which identifiers join people (``cdmd.identity``).
"""

import base64
import re
import unicodedata
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from cdmd.kit.phones import e164

Form: TypeAlias = Literal["none", "trim", "lower", "email", "phone", "sha256"]

_HEX: Final = re.compile(r"[0-9A-Fa-f]{64}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{43}=?")


def normalise(form: Form, value: str, *, region: str | None = None) -> str | None:
    """``value`` in its form, or None where it has none: nothing left, an unpaired surrogate, NUL, or unsure.

    ``region`` is the ISO 3166 region of phone numbers without a country code.
    """
    if not value or "\0" in value or not _is_utf8(value):
        return None
    if form == "phone":
        return e164(value, region)
    return _FORMS[form](value) or None


def _is_utf8(value: str) -> bool:
    try:
        value.isascii() or value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _lower(value: str) -> str:
    # Lower-casing may leave a sequence that composes, and composing may bring a capital: both again until nothing moves.
    lowered = unicodedata.normalize("NFC", value.strip().lower())
    return lowered if lowered == value else _lower(lowered)


def _email(value: str) -> str | None:
    address = _lower(unicodedata.normalize("NFC", value))
    local, at, domain = address.partition("@")
    if not (local and at and domain) or "@" in domain or address.split() != [address]:
        return None
    return address


def _sha256(value: str) -> str | None:
    """A digest in lower-case hexadecimal, as which it came or as base64 (both alphabets, with its padding or without)."""
    text = value.strip()
    if _HEX.fullmatch(text):
        return text.lower()
    if not _BASE64.fullmatch(text):
        return None
    return base64.urlsafe_b64decode(text.rstrip("=").replace("+", "-").replace("/", "_") + "=").hex()


_FORMS: Final[Mapping[str, Callable[[str], str | None]]] = MappingProxyType(
    {"none": str, "trim": str.strip, "lower": _lower, "email": _email, "sha256": _sha256}
)
