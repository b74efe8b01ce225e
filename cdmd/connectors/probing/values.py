"""What the texts of columns seem to be: numbers with a decimal comma, dates, words for no value, identifiers. Pure."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from cdmd.kit.normalising import normalise

Column = Sequence[str]
_COMMA: Final = re.compile(r"[+-]?(\d{1,3}([. \u00a0\u202f'\u2019]\d{3})+|\d+),\d+")
_WHOLE: Final = re.compile(r"[+-]?(\d{1,3}([. \u00a0\u202f'\u2019]\d{3})+|\d+)")
_NUMBER: Final = re.compile(r"[+-]?\d+([.,]\d+)?")
_DIGEST: Final = re.compile(r"[0-9A-Fa-f]{64}|[A-Za-z0-9+/]{43}=")
_NULLS: Final = ("NULL", "null", "\\N", "N/A", "n/a", "#N/A", "(null)")
_DATES: Final = ("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%Y/%m/%d", "%d.%m.%y")
_TIMES: Final = ("", " %H:%M", " %H:%M:%S", "T%H:%M:%S")
_MOST: Final = 0.8
_CUSTOMER: Final = r"(customer|cust|client|kund|kunden?|asiakas|member)[ _.-]*(no|nr|id|number|num|nummer|nro)?"
_NAMES: Final = (
    ("customer_no", re.compile(_CUSTOMER, re.IGNORECASE)),
    ("user_id", re.compile(r"user[ _.-]*id", re.IGNORECASE)),
)


def looks_like_value(text: str) -> bool:
    """Whether a text is what a column holds, and no column's name: a number, a date, an address."""
    text = text.strip()
    return bool(_NUMBER.fullmatch(text)) or "@" in text or date_forms([text]) != [] or bool(_DIGEST.fullmatch(text))


def nulls(columns: Mapping[str, Column]) -> list[str]:
    """Words that stand for no value, as they occur beside other values."""
    seen = {text for texts in columns.values() for text in texts}
    return [word for word in _NULLS if word in seen]


def with_comma(columns: Mapping[str, Column]) -> list[str]:
    """The columns of numbers some of which are written with a decimal comma."""
    return [
        name
        for name, texts in columns.items()
        if any(_COMMA.fullmatch(text.strip()) for text in texts)
        and all(_COMMA.fullmatch(text.strip()) or _WHOLE.fullmatch(text.strip()) for text in texts)
    ]


def dates(columns: Mapping[str, Column]) -> tuple[dict[str, str], list[str]]:
    """Columns of dates with their form, and those among them where day and month cannot be told apart."""
    found, unsure = {}, []
    for name, texts in columns.items():
        if forms := date_forms(texts):
            found[name] = forms[0]
            unsure += [name] if len(forms) > 1 else []
    return found, unsure


def date_forms(texts: Column) -> list[str]:
    """The forms that all of these texts have."""
    forms = [day + time for day in _DATES for time in _TIMES]
    for text in texts:
        forms = [form for form in forms if _reads(text.strip(), form)]
    return forms if texts else []


def identifiers(columns: Mapping[str, Column]) -> dict[str, str]:
    """Kinds of identifiers with the column that seems to hold them."""
    found: dict[str, str] = {}
    for name, texts in columns.items():
        if (kind := _kind(name, texts)) is not None:
            found.setdefault(kind, name)
    return found


def texts_of(records: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Every column's texts that are not empty."""
    names = {name: None for record in records for name in record}
    return {name: [text for one in records if isinstance(text := one.get(name), str) and text.strip()] for name in names}


def _kind(name: str, texts: Column) -> str | None:
    if texts and _share(texts, lambda text: "." in text and normalise("email", text) is not None) >= _MOST:
        return "email"
    plain = name.casefold()
    if any(part in plain for part in ("phone", "telefon", "mobil", "tel.", "puhelin")) or plain == "tel":
        return "phone"
    if texts and _share(texts, lambda text: _DIGEST.fullmatch(text.strip()) is not None) >= _MOST:
        return "phone_sha256" if "phone" in plain or "tel" in plain else "email_sha256"
    return next((kind for kind, pattern in _NAMES if pattern.fullmatch(name.strip())), None)


def _share(texts: Column, holds: Any) -> float:
    return sum(map(bool, map(holds, texts))) / len(texts)


def _reads(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)  # noqa: DTZ007 - only whether it can be read
    except ValueError:
        return False
    return True
