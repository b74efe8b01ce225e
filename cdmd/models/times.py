"""Times and numbers that name: microseconds, sequence numbers, keys, digests."""

from datetime import UTC, datetime, timedelta
from typing import Final, NewType

Micros = NewType("Micros", int)
"""Microseconds since 1970-01-01T00:00:00Z."""

Seq = NewType("Seq", int)
"""A journal sequence number: 1 for the first entry ever, never used twice."""

ProfileKey = NewType("ProfileKey", int)
"""A profile's number inside the store; it never leaves the daemon."""

Digest = NewType("Digest", bytes)
"""A keyed 128-bit digest (16 bytes) of (source, id)."""

BRIEFLY: Final = 72 * 3600 * 1_000_000
"""Microseconds for which a digest of what was sent names one occurrence: after it, the same again is another one."""

LANE: Final = 0
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def to_micros(moment: datetime) -> Micros:
    """The aware datetime ``moment`` as microseconds since the epoch."""
    return (moment - EPOCH) // _MICROSECOND  # type: ignore[return-value]  # Micros() would cost as much again


def from_micros(value: int) -> datetime:
    """Microseconds since the epoch as an aware datetime in UTC."""
    return EPOCH + timedelta(microseconds=value)


def show_time(moment: datetime) -> str:
    """RFC 3339 in UTC with as many decimals as are needed: none, three or six."""
    moment = moment.astimezone(UTC)
    if moment.microsecond == 0:
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    style = "milliseconds" if moment.microsecond % 1000 == 0 else "microseconds"
    return moment.replace(tzinfo=None).isoformat(timespec=style) + "Z"
