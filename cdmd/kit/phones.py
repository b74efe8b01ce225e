"""Phone numbers as ITU-T E.164 writes them, by the numbering plans that ``phonenumbers`` knows. Pure.

Conservative, for a wrong number joins strangers: a number has a form only where its country's plan has such numbers and gives
them to people. What many share has none: free and paid services, a number with an extension (somebody behind a switchboard).
"""

import re
from collections.abc import Collection
from functools import cache, lru_cache
from importlib import import_module
from typing import Any, Final

_WRITTEN: Final = re.compile(r"(?:tel:)?\s*\+?[\d\s().\-/\u2010-\u2013]+", re.IGNORECASE)
"""Digits as people group them: the library would also read the first number out of a sentence, and letters as digits."""

_PERSONAL: Final = frozenset({"FIXED_LINE", "MOBILE", "FIXED_LINE_OR_MOBILE", "VOIP", "PERSONAL_NUMBER", "PAGER"})
_LONGEST: Final = 40
_REMEMBERED: Final = 8192
"""Reading one costs as much as a whole event does, and the same numbers come again and again."""


@lru_cache(maxsize=_REMEMBERED)
def e164(text: str, region: str | None = None) -> str | None:
    """The number with a plus sign and its country code, or None where it is none that one person has.

    ``region`` (ISO 3166) is where numbers without a country code are from; without it 00 stands for the plus sign.
    """
    number = text.strip()
    if len(number) > _LONGEST or not _WRITTEN.fullmatch(number):
        return None
    number = "+" + number[2:] if region is None and number.startswith("00") else number
    plans = _plans()
    try:
        parsed = plans.parse(number, None if region is None else region.upper())
    except plans.NumberParseException:
        return None
    if plans.PhoneNumberType.to_string(plans.number_type(parsed)) not in _PERSONAL:
        return None
    return str(plans.format_number(parsed, plans.PhoneNumberFormat.E164))


def regions() -> Collection[str]:
    """The regions (ISO 3166) whose plans are known."""
    return frozenset(_plans().SUPPORTED_REGIONS)


@cache
def _plans() -> Any:
    """Loaded when the first number is read, and some more for each country met: neither start nor memory pays for it before."""
    return import_module("phonenumbers")
