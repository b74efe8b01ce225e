"""How many requests may go to one host with one credential, and when the next one may. Pure: time and chance are handed in.

Windows slide and nothing is ever rounded in our favour: a request counts from the moment it is let go until a window's length
after its answer came, so that no window of that length, wherever the other side begins to count it, holds more than its limit.
Beside the limits it obeys what answers say (``ratelimit_headers``), halves the rate after a 429 that says nothing, and rests
when the host fails again and again. Not here: who waits for a turn (``turns``) and waiting itself (``shared_budget``).
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from cdmd.kit.backoff import Backoff
from cdmd.kit.quantities import Rate
from cdmd.kit.ratelimit_headers import Told, told

MARGIN: Final = 0.001
"""Seconds that a place stays taken beyond its window: clocks and edges of windows are never compared to the last bit."""

_GRAINS: Final = 512
_HALVE: Final = 0.5
_LEAST_SHARE: Final = 0.05
_RECOVERY: Final = 0.05 / 60
_SPARE: Final = 0.9
_HICCUPS: Final = 2
_TOO_MANY: Final = 429
_UNAVAILABLE: Final = 503
_SERVER_FAULT: Final = 500
_SAME_RESET: Final = 2.0
_HORIZON: Final = 3600.0
_ANY: Final = float("inf")


class Window:
    """One limit: at most ``limit.count`` requests in any ``limit.per`` seconds. Memory is bounded by 512 stamps.

    Beyond 512 places, stamps within a 512th of the window are kept as one that counts as late as the last of them.
    """

    def __init__(self, limit: Rate) -> None:
        self.limit = limit
        self._grain = 0.0 if limit.count <= _GRAINS else limit.per / _GRAINS
        self._stamps: deque[tuple[float, float, int]] = deque()  # (first, last, count), oldest first
        self._kept = 0

    def stamp(self, moment: float, count: int = 1) -> None:
        """``count`` requests were answered at ``moment``; never counted earlier than what was stamped before."""
        first = moment = max(moment, self._stamps[-1][1]) if self._stamps else moment
        if self._stamps and moment - self._stamps[-1][0] < self._grain:
            first, _, more = self._stamps.pop()
            self._kept -= more
            count += more
        self._stamps.append((first, moment, count))
        self._kept += count

    def free_at(self, now: float, *, flying: int, share: float) -> float | None:
        """When there is a place: ``now``, later, or None while only an answer can tell. ``flying`` are not answered yet."""
        until = self.limit.per + MARGIN
        while self._stamps and self._stamps[0][1] + until <= now:
            self._kept -= self._stamps.popleft()[2]
        missing = flying + self._kept + 1 - max(1, int(self.limit.count * share))
        if missing <= 0:
            return now
        for _, last, count in self._stamps:
            missing -= count
            if missing <= 0:
                return last + until
        return None


class Budget:
    """All limits of one host and credential. Times are seconds of one steady clock; ``chance`` draws from [0, 1).

    ``begin`` takes a place, and exactly one of ``answered`` and ``withdraw`` gives it back.
    """

    def __init__(self, limits: Sequence[Rate] = (), *, most_flying: int = 4, rest: Backoff | None = None) -> None:
        self._windows = [Window(limit) for limit in dict.fromkeys(limits)]
        self._most_flying, self._rest = most_flying, rest or Backoff(first=1.0, cap=60.0)
        self._flying = self._failures = self._throttled = 0
        self._share, self._share_since = 1.0, 0.0
        self._left: int | None = None
        self._left_limit: int | None = None
        self._left_until, self._left_window, self._last_begin = 0.0, 0.0, float("-inf")
        self.blocked_until = float("-inf")
        self.blocked_for = ""

    @property
    def limits(self) -> tuple[Rate, ...]:
        """What is configured."""
        return tuple(window.limit for window in self._windows)

    @property
    def flying(self) -> int:
        """Requests that have no answer yet."""
        return self._flying

    def configure(self, limits: Sequence[Rate], history: Sequence[tuple[float, int]] = ()) -> None:
        """Obey these limits from now on; a new window knows of ``history``: (moment, requests), oldest first."""
        known = {window.limit: window for window in self._windows}
        self._windows = [known.get(limit) or _seeded(limit, history) for limit in dict.fromkeys(limits)]

    def share(self, now: float) -> float:
        """How much of the configured rate is used: 1, less after a 429 that said nothing; it grows by 5 % a minute."""
        return min(1.0, self._share + (now - self._share_since) * _RECOVERY)

    def sustained(self, now: float) -> float:
        """Requests per second that can go on like this (infinity: any), by the limits and by what the source says of itself."""
        by_limits = min((window.limit.count / window.limit.per for window in self._windows), default=_ANY)
        return min(by_limits * self.share(now), self._quota_sustained(now))

    def next_at(self, now: float) -> float | None:
        """When the next request may go (``now``: at once); None while only an answer can tell."""
        if self._flying >= self._most_flying:
            return None
        found = [now, self.blocked_until, self._by_quota(now)]
        for window in self._windows:
            at = window.free_at(now, flying=self._flying, share=self.share(now))
            if at is None:
                return None
            found.append(at)
        return max(found)

    def why(self, now: float) -> str:
        """Why the next request has to wait, in words for ``status``."""
        if now < self.blocked_until:
            return self.blocked_for
        for window in self._windows:
            at = window.free_at(now, flying=self._flying, share=self.share(now))
            if at is None or at > now:
                return f"its limit of {window.limit} is used up"
        return "the source says that little of its quota is left" if self._by_quota(now) > now else "requests are under way"

    def begin(self, now: float) -> None:
        """A request is let go."""
        self._flying += 1
        self._last_begin = now
        if self._left is not None:
            self._left -= 1

    def withdraw(self) -> None:
        """The request that was let go was never sent."""
        self._flying -= 1
        if self._left is not None:
            self._left += 1

    def answered(
        self, now: float, status: int | None, headers: Mapping[str, str], *, wall: float, chance: float, free: bool = False
    ) -> bool:
        """An answer came (``status`` None: none came). True when it blocks the host or changed the rate.

        ``wall`` is the same moment in Unix seconds; header names compare as the mapping does. One that is ``free`` does not
        count: the source says so.
        """
        self._flying -= 1
        for window in () if free else self._windows:
            window.stamp(now)
        said = told(status, headers, wall=wall)
        self._learn_quota(said, now)
        if status == _TOO_MANY or (status == _UNAVAILABLE and said.pause is not None):
            self._throttle(said.pause, now, chance)
            return True
        if status is None or status >= _SERVER_FAULT:
            return self._failed(now, chance)
        self._failures = self._throttled = 0
        return False

    def abandoned(self, now: float) -> None:
        """Whoever asked went away before the answer: it was sent, and says nothing about the host."""
        self._flying -= 1
        for window in self._windows:
            window.stamp(now)

    def block(self, until: float, why: str) -> None:
        """Let nothing go before ``until``."""
        if until > self.blocked_until:
            self.blocked_until, self.blocked_for = until, why

    def slow_down(self, now: float, share: float) -> None:
        """Use only ``share`` of the configured rate from now on."""
        self._share, self._share_since = max(_LEAST_SHARE, min(1.0, share)), now

    def _throttle(self, pause: float | None, now: float, chance: float) -> None:
        """``Retry-After`` is never shortened, only spread upwards; without one the rate is halved and a back-off begins."""
        if pause is not None:
            self.block(now + pause * (1 + chance / 10), "the source asked for a pause (Retry-After)")
        elif now >= self.blocked_until:
            self._throttled += 1
            self.slow_down(now, self.share(now) * _HALVE)
            self.block(now + self._rest.delay(self._throttled, chance), "the source refused more requests (429)")

    def _failed(self, now: float, chance: float) -> bool:
        self._failures += 1
        if self._failures <= _HICCUPS or now < self.blocked_until:
            return False
        delay = self._rest.delay(self._failures - _HICCUPS, chance)
        self.block(now + delay, "the source fails again and again")
        return True

    def _learn_quota(self, said: Told, now: float) -> None:
        if said.remaining is None or said.reset is None:
            return
        left, until = said.remaining - self._flying, now + said.reset
        if self._left is not None and now < self._left_until and abs(until - self._left_until) < _SAME_RESET:
            left = min(left, self._left)  # answers may come in another order than the requests were counted
        self._left_window = max(said.reset, self._left_window if said.limit == self._left_limit else 0.0)
        self._left, self._left_until, self._left_limit = max(0, left), until, said.limit

    def _quota_sustained(self, now: float) -> float:
        """What is left until the reset holds for as much of the next hour, what the whole quota allows for the rest of it."""
        steady = _ANY if self._left_limit is None else _SPARE * self._left_limit / self._left_window
        rest = self._left_until - now
        if self._left is None or rest <= 0:
            return steady
        left, part = _SPARE * self._left / rest, min(1.0, rest / _HORIZON)
        return left if part == 1.0 else part * left + (1 - part) * steady

    def _by_quota(self, now: float) -> float:
        """When what the source says is left allows the next one: spread over the time to its reset once half is gone."""
        if self._left is None or now >= self._left_until:
            return now
        if self._left <= 0:
            return self._left_until
        if self._left_limit is not None and self._left * 2 >= self._left_limit:
            return now
        return self._last_begin + (self._left_until - self._last_begin) / (_SPARE * self._left + 1)


def _seeded(limit: Rate, history: Sequence[tuple[float, int]]) -> Window:
    window = Window(limit)
    for moment, count in history:
        window.stamp(moment, count)
    return window
