"""Values of typed formats (spreadsheets, Parquet) as JSON has them. Pure."""

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any


def plain(value: Any) -> Any:  # noqa: PLR0911 - a case for each kind of value
    """Dates and times as RFC 3339 text (a moment without a zone is UTC), whole decimals as integers, bytes as hexadecimal."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case datetime() if value.tzinfo is None:
            return value.replace(tzinfo=UTC).isoformat()
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal():
            return _number(value)
        case bytes():
            return value.hex()
        case Mapping():
            return {str(name): plain(one) for name, one in value.items()}
        case list() | tuple():
            return [plain(one) for one in value]
        case _:
            return str(value)


def _number(value: Decimal) -> int | float | None:
    if not value.is_finite():
        return None
    return int(value) if value == value.to_integral_value() else float(value)
