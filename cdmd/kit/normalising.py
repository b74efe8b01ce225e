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

Form: TypeAlias = Literal["none", "trim", "lower", "email", "phone", "sha256"]

TRUNK_ZERO: Final[Mapping[str, str]] = MappingProxyType(
    {
        "AT": "43", "AU": "61", "BE": "32", "BG": "359", "CH": "41", "DE": "49", "EG": "20", "FI": "358", "FR": "33",
        "GB": "44", "HR": "385", "ID": "62", "IE": "353", "IL": "972", "IN": "91", "JP": "81", "KR": "82", "MY": "60",
        "NL": "31", "NZ": "64", "PH": "63", "PK": "92", "RO": "40", "RS": "381", "SE": "46", "SI": "386", "SK": "421",
        "TH": "66", "TR": "90", "TW": "886", "UA": "380", "VN": "84", "ZA": "27",
    }
)  # fmt: skip
"""Regions (ISO 3166) whose national numbers start with a 0 that is dropped after the country code (ITU-T E.164 list)."""

_TRUNK_CODES: Final = tuple(TRUNK_ZERO.values())
_SEPARATORS: Final = re.compile(r"[\s().\-/\u2010-\u2013]+")
_E164: Final = re.compile(r"\+[1-9][0-9]{7,14}")
_NATIONAL: Final = re.compile(r"0[1-9][0-9]{5,13}")
_HEX: Final = re.compile(r"[0-9A-Fa-f]{64}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{43}=?")


def normalise(form: Form, value: str, *, region: str | None = None) -> str | None:
    """``value`` in its form, or None where it has none: nothing left, an unpaired surrogate, NUL, or unsure.

    ``region`` is the ISO 3166 region of phone numbers without a country code.
    """
    if not value or "\0" in value or not _is_utf8(value):
        return None
    if form == "phone":
        return _phone(value, region)
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
    if not (local and at and domain) or "@" in domain or any(character.isspace() for character in address):
        return None
    return address


def _phone(value: str, region: str | None) -> str | None:
    number = value.strip()
    if number.startswith(("+", "00")):
        number = number.replace("(0)", "", 1)
    number = _SEPARATORS.sub("", number)
    if number.startswith("00"):
        number = "+" + number[2:]
    elif _NATIONAL.fullmatch(number) and (region or "").upper() in TRUNK_ZERO:
        number = f"+{TRUNK_ZERO[(region or '').upper()]}{number[1:]}"
    if not _E164.fullmatch(number):
        return None
    # A national 0 left behind its country code is a mistake of writing that cannot be read with certainty.
    code = next((code for code in _TRUNK_CODES if number.startswith(code, 1)), None)
    return None if code and number.startswith("0", 1 + len(code)) else number


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
