"""What text and time are when they come out of a source record. Pure; messages name kinds of values, never values.

Not for: forms of identifiers (``cdmd.kit.normalising``).
"""

import math
import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Final

from cdmd.errors import TemplateFault

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND: Final = 253_402_300_799
_MILLISECONDS_FROM: Final = 10**11
_LONGEST_DIGITS: Final = 32
_RFC3339: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:([Zz])|([+-])([0-9]{2}):?([0-9]{2}))"
)
# What nearly every source writes; Python's own parser takes it in a tenth of the time.
_PLAIN_UTC: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?(?:Z|\+00:00)"
).fullmatch
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DIGITS: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")
# OData 2: milliseconds in UTC; what may follow says how far from UTC they were shown.
_ODATA: Final = re.compile(r"/Date\(([0-9]{1,14})(?:[+-][0-9]{1,4})?\)/")
_NOT_A_TIME: Final = "is not a time: RFC 3339 with an offset, Unix seconds or Unix milliseconds"
_NO_DATE: Final = f"a date that does not exist, or outside 1970 to 9999, {_NOT_A_TIME}"


def kind_of(value: Any) -> str:
    """The JSON name of the value's kind (``string``, ``number``, ...); for anything else its Python type's name."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float() | Decimal():
            return "number"
        case str():
            return "string"
        case list() | tuple():
            return "array"
        case dict():
            return "object"
        case _:
            return type(value).__name__


def plain_number(value: float | Decimal) -> str:
    """The number in plain decimal: ``1e16`` is ``10000000000000000``, ``42.0`` is ``42``, as JSON knows one kind of number.

    Raises ValueError for NaN, infinities and integers of thousands of digits.
    """
    if type(value) is int:
        return str(value)
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not exact.is_finite():
        raise ValueError("the number is not finite")
    text = format(exact, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def as_text(value: Any, *, expression: str = "") -> str:
    """Text for an id, a type or an identifier: text as it is, numbers in plain decimal.

    Raises TemplateFault for everything else, for numbers that have no decimal form and for text with unpaired surrogates
    (it has no UTF-8 form); ``expression`` is the template it came from.
    """
    if type(value) is str and value.isascii():
        return value
    kind, about = kind_of(value), f"{expression}: " if expression else ""
    try:
        if kind == "string":
            if not value.isascii():
                value.encode()
            return str(value)
        if kind == "number":
            return plain_number(value)
    except ValueError:
        problem = "has no UTF-8 form" if kind == "string" else "has no plain decimal form"
        raise TemplateFault(f"{about}the {kind} {problem}", expression=expression, kind=kind) from None
    raise TemplateFault(f"{about}text is needed here, not {kind}", expression=expression, kind=kind)


def as_time(value: Any) -> datetime:
    """The moment in UTC, to the microsecond, that ``value`` names; from 1970 to 9999.

    Takes RFC 3339 with any offset (also with a space for the T, an offset without its colon, and second 60), Unix seconds, or
    from 10**11 on Unix milliseconds, as a number or as digits, and OData's ``/Date(milliseconds)/``.
    Raises ValueError otherwise.
    """
    if type(value) is str:
        return _from_text(value.strip())
    match value:
        case datetime():
            return _aware(value)
        case bool():
            raise ValueError(f"a boolean {_NOT_A_TIME}")
        case int():
            return _from_unix(value)
        case float() | Decimal():
            if not math.isfinite(value):
                raise ValueError(f"a number that is not finite {_NOT_A_TIME}")
            return _from_unix(Decimal(repr(value)) if isinstance(value, float) else value)
        case str():
            return _from_text(str(value).strip())
        case _:
            raise ValueError(f"{kind_of(value)} {_NOT_A_TIME}")


def as_moment(value: Any) -> datetime:
    """The same; a date alone (``2026-11-23``) is its midnight in UTC."""
    try:
        return as_time(value)
    except ValueError:
        if type(value) is str and _DATE.fullmatch(value) is not None:
            return as_time(f"{value}T00:00:00Z")
        raise


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"a time without an offset {_NOT_A_TIME}")
    return _in_range(moment)


def _from_text(text: str) -> datetime:
    if _PLAIN_UTC(text) is not None:
        try:
            return _in_range(datetime.fromisoformat(text))
        except ValueError:
            raise ValueError(_NO_DATE) from None
    if len(text) <= _LONGEST_DIGITS and _DIGITS.fullmatch(text):
        return _from_unix(Decimal(text))
    ticks = _ODATA.fullmatch(text)
    if ticks is not None:
        return _EPOCH + timedelta(milliseconds=int(ticks[1]))
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"this text {_NOT_A_TIME}")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction, _, sign, offset_hours, offset_minutes = match.groups()[6:]
    offset = timedelta(hours=int(offset_hours or 0), minutes=int(offset_minutes or 0))
    if offset >= timedelta(days=1) or int(offset_minutes or 0) > 59:  # noqa: PLR2004 - minutes of an hour
        raise ValueError(f"an offset of a day or more {_NOT_A_TIME}")
    leap = second == 60  # noqa: PLR2004 - a leap second, which Python's datetime does not know
    zone = timezone(-offset if sign == "-" else offset)
    micros = int((fraction or "")[:6].ljust(6, "0"))
    try:
        moment = datetime(year, month, day, hour, minute, 59 if leap else second, micros, tzinfo=zone)
        return _in_range(moment + timedelta(seconds=1 if leap else 0))
    except (ValueError, OverflowError):  # Python's own words may hold the digits
        raise ValueError(_NO_DATE) from None


def _from_unix(value: int | Decimal) -> datetime:
    seconds_max = _LAST_SECOND * 1000
    if not 0 <= value <= seconds_max:
        raise ValueError(f"a number outside 1970 to 9999 {_NOT_A_TIME}")
    scale = 1_000 if value >= _MILLISECONDS_FROM else 1_000_000
    return _EPOCH + timedelta(microseconds=round(value * scale))


def _in_range(moment: datetime) -> datetime:
    try:
        if moment.tzinfo is not UTC:
            moment = moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"a time outside 1970 to 9999 {_NOT_A_TIME}") from None
    if moment < _EPOCH:
        raise ValueError(f"a time outside 1970 to 9999 {_NOT_A_TIME}")
    return moment
