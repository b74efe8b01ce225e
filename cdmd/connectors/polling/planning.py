"""A stream's looks over its life: what is wanted, what is granted, what was learned, and what a restart has to know. No I/O.

Times are Unix seconds, durations seconds. Not here: the policy (``pacing``), the budget that grants, requests.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol
from zlib import crc32

import msgspec

from cdmd.connectors.polling.pacing import Allowed, Due, Pace, begun, due, looked
from cdmd.connectors.polling.rates import DAY, Forecast, Rates, learned
from cdmd.kit.grants import Claim
from cdmd.kit.quantities import spoken
from cdmd.kit.quiet import Quiet

USUAL: Final = 300.0
"""Seconds between two looks on the whole, where nobody says how fresh it has to be."""

LEAST: Final = 60.0
"""Seconds between two looks at least, where freshness does not ask for more."""

_SHORTEST: Final = 1.0
_STRETCH: Final = 4.0
_ROUNDING: Final = 1.01
_FIRST: Final = "the first look"


class Planning(Protocol):
    """The part of ``contracts.Budget`` that a planner needs."""

    def plan(self, asker: str, claim: Claim) -> float:
        """How many looks per second may be planned with."""
        ...


class Wants(msgspec.Struct, frozen=True):
    """What the configuration asks of a stream: ``freshness``, or a look ``every`` so often whatever is likely."""

    freshness: float | None = None
    every: float | None = None
    quiet: Quiet = Quiet()

    def allowed(self, granted: float = float("inf"), asked: float = 0.0) -> Allowed:
        """With so many looks per second ``granted``, where the source itself wants ``asked`` seconds between two.

        On the whole twice in ``freshness``, never rarer than once, where that is granted.
        """
        if self.every is not None:
            every = max(self.every, asked, 1 / granted)
            return Allowed(mean=every, least=every, most=every, quiet=self.quiet)
        wanted = USUAL if self.freshness is None else self.freshness / 2
        least = max(_SHORTEST, asked, min(LEAST, wanted / 2))
        mean = max(wanted, least, 1 / granted)
        most = _STRETCH * mean if self.freshness is None or mean > self.freshness else self.freshness
        return Allowed(mean=mean, least=least, most=max(most, mean), quiet=self.quiet)

    def claim(self, pace: Pace, asked: float) -> Claim:
        """What it asks of a budget."""
        most = 1 / self.allowed(asked=asked).mean
        least = min(most, 1 / (DAY if self.objective is None else self.objective))
        return Claim(arrivals=Forecast(pace.rates).whole, cost=pace.pages, least=least, most=most)

    @property
    def objective(self) -> float | None:
        """How long may be between two looks; None where nobody says."""
        return self.freshness if self.every is None else self.every


class _Kept(msgspec.Struct, array_like=True, frozen=True):
    """What is written after every look; the rates only when something arrived."""

    looked: float
    pressure: float
    over: float
    looks: float
    granted: float
    pages: float
    asked: float
    due: float
    why: str


class Planner:
    """Plans one stream's looks. ``key`` begins the keys of its state; without a ``budget`` it gets all that it wants."""

    def __init__(self, asker: str, wants: Wants, *, budget: Planning | None = None, key: bytes = b"pace/") -> None:
        self._asker, self._wants, self._budget = asker, wants, budget
        self._plan, self._rates = key + b"plan", key + b"rates"
        self._pace: Pace | None = None
        self._asked, self._arrived = 0.0, False
        self._allowed = wants.allowed()
        self.due = Due(0.0, _FIRST)

    @property
    def keys(self) -> Sequence[bytes]:
        """Where its state stands."""
        return (self._plan, self._rates)

    def begin(self, kept: Mapping[bytes, bytes], now: float) -> Due:
        """When to look first: as it was planned before the restart, else now."""
        if self._plan in kept and self._rates in kept:
            self._restore(kept, now)
        else:
            self._next(begun(now), now)  # its part of the budget is claimed from the first look on
            self.due = Due(self._wants.quiet.until(now), _FIRST)
        return self.due

    def looked(self, now: float, *, arrivals: Iterable[float] | int, requests: int = 1, asked: float | None = None) -> Due:
        """When to look again after a look that ended ``now``; ``asked`` where the answer names an interval.

        What the first look of all brings lay there before, and says nothing of how often things happen. The second comes a
        little early, each stream's own part of its interval, so that a thousand that began together do not go on together.
        """
        self._asked = self._asked if asked is None else asked
        if self._pace is None:
            self._pace, self._arrived = begun(now), True
            self.due = self._early(self._next(self._pace, now), now)
            return self.due
        some = arrivals if isinstance(arrivals, int) else list(arrivals)
        self._arrived = self._arrived or bool(some)
        self._pace = looked(self._pace, self._allowed, now, arrivals=some, pages=requests)
        self.due = self._next(self._pace, now)
        return self.due

    def _early(self, planned: Due, now: float) -> Due:
        """Up to half of the interval sooner; a fixed interval stays what it is."""
        if self._wants.every is not None:
            return planned
        part = crc32(self._asker.encode()) / 2**33
        at = max(now + self._allowed.least, planned.at - part * (planned.at - now))
        return Due(self._wants.quiet.until(at), planned.why)

    def state(self) -> dict[bytes, bytes]:
        """What has to be durable for ``begin``; asking for it forgets that the rates changed."""
        if self._pace is None:
            return {}
        pace, changed = self._pace, self._arrived
        self._arrived = False
        numbers = (pace.looked, pace.pressure, pace.over, pace.looks, pace.granted, pace.pages)
        plan = {self._plan: msgspec.msgpack.encode(_Kept(*numbers, self._asked, self.due.at, self.due.why))}
        return plan | ({self._rates: msgspec.msgpack.encode(pace.rates)} if changed else {})

    @property
    def shortfall(self) -> str | None:
        """Why what is wanted is not reached, with what will be; None where it is."""
        objective, mean = self._wants.objective, self._allowed.mean
        if objective is None or mean <= objective * _ROUNDING:
            return None
        cause = "its source wants so much time between two" if self._asked >= mean else "that is what its limits allow"
        return f"it is looked at every {spoken(mean)} on the whole, {spoken(objective)} is wanted: {cause}"

    def _next(self, pace: Pace, now: float) -> Due:
        granted = float("inf")
        if self._budget is not None:
            granted = self._budget.plan(self._asker, self._wants.claim(pace, self._asked))
        self._allowed = self._wants.allowed(granted, self._asked)
        return due(pace, self._allowed, now)

    def _restore(self, kept: Mapping[bytes, bytes], now: float) -> None:
        """Neither the clock, where it was set back, nor an objective that became stricter lets anybody wait too long."""
        plan = msgspec.msgpack.decode(kept[self._plan], type=_Kept)
        rates = learned(msgspec.msgpack.decode(kept[self._rates], type=Rates), [], plan.looked)
        self._asked = plan.asked
        self._pace = Pace(rates, plan.looked, plan.pressure, plan.over, plan.looks, plan.granted, plan.pages)
        self._next(self._pace, now)
        at = self._wants.quiet.until(max(now, min(plan.due, now + self._allowed.most)))
        self.due = Due(at, plan.why)
