"""When to look at a stream again, after what the last look was like. Pure. The policy: ``polling``."""

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Final, NamedTuple

import msgspec

from cdmd.connectors.polling.pacing import QUIET, Due
from cdmd.connectors.polling.planning import Planner, Planning, Wants
from cdmd.connectors.rest.settings import RestSettings
from cdmd.kit.quiet import Quiet

FAILED: Final = (5.0, 30.0, 120.0, 600.0)
"""Seconds after which a look that failed is repeated: the first time, the second ..."""

DENIED: Final = 900.0
"""Seconds after which a refused credential is tried again."""

_MOST_LATE: Final = 200
_SHARE: Final = 0.95


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What one look at a stream was like.

    ``times`` are those of the new records where the source says them (a thousand of them at most), ``asked`` the seconds that
    the source wants between looks. ``trouble`` says why it did not come to its end; with ``denied`` somebody has to act, unless
    it is ``perhaps_this`` alone that was asked for.
    ``warning``: it did, and somebody should know this of the source. ``more``: it stopped where the next one goes on at once.
    """

    began: datetime
    ended: datetime
    records: int = 0
    new: int = 0
    requests: int = 0
    times: tuple[datetime, ...] = ()
    asked: float | None = None
    trouble: str | None = None
    warning: str | None = None
    denied: bool = False
    perhaps_this: bool = False
    more: bool = False


class Next(NamedTuple):
    """When, and why then, in words for ``status``."""

    at: datetime
    reason: str


class Pace:
    """Decides when to look at a stream; what it learned stands in the connector's state below ``key``."""

    def __init__(self, asker: str, wants: Wants, *, budget: Planning, key: bytes) -> None:
        self.objective = wants.objective
        self._quiet, self._planner = wants.quiet, Planner(asker, wants, budget=budget, key=key)
        self._late: deque[float] = deque(maxlen=_MOST_LATE)
        self._began: datetime | None = None

    @property
    def keys(self) -> Sequence[bytes]:
        """Where its state stands."""
        return self._planner.keys

    def begin(self, kept: Mapping[bytes, bytes], *, now: datetime) -> Next:
        """When to look first: as it was planned before a restart, else as soon as it is not quiet."""
        self._began = now
        return _next(self._planner.begin(kept, now.timestamp()), now)

    def next_look(self, look: Look, *, now: datetime) -> Next:
        """When to look after ``look``, which came to its end: reckoned from its beginning."""
        times = [one.timestamp() for one in look.times]
        self._late += [max(0.0, (look.ended - one).total_seconds()) for one in look.times if self._began and one >= self._began]
        arrivals = times if 2 * len(times) > look.new else look.new
        following = self._planner.looked(look.began.timestamp(), arrivals=arrivals, requests=look.requests, asked=look.asked)
        return _next(following, now)

    def state(self) -> dict[bytes, bytes]:
        """What has to be durable before the next look."""
        return self._planner.state()

    def opened(self, following: Next) -> Next:
        """The same, or the end of the quiet hours that it would fall into."""
        at = self._quiet.until(following.at.timestamp())
        return following if at <= following.at.timestamp() else Next(_moment(at), QUIET)

    @property
    def measured(self) -> float | None:
        """Seconds within which 95 of 100 of what happened lately was here; None before anything happened since the start."""
        late = sorted(self._late)
        return late[ceil(_SHARE * len(late)) - 1] if late else None

    @property
    def shortfall(self) -> str | None:
        """Why it will not be as fresh as it is wanted, with what will be reached."""
        return self._planner.shortfall


def wants(settings: RestSettings, freshness: float | None) -> dict[str, Wants]:
    """What every stream is wanted to be that looks by itself; ``freshness`` is the connector's, in seconds."""
    quiet = Quiet(settings.quiet)
    return {
        name: Wants(
            freshness=freshness if stream.freshness is None else stream.freshness.seconds,
            every=None if (every := stream.every or settings.every) is None else every.seconds,
            quiet=quiet,
        )
        for name, stream in settings.streams.items()
        if stream.parent is None
    }


def after_failure(look: Look, failures: int, *, now: datetime) -> Next:
    """When to look after one that failed, of ``failures`` in a row."""
    seconds = DENIED if look.denied else FAILED[min(failures, len(FAILED)) - 1]
    return Next(now + timedelta(seconds=seconds), "another try")


def _next(planned: Due, now: datetime) -> Next:
    return Next(max(now, _moment(planned.at)), planned.why)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(round(seconds, 3), UTC)
