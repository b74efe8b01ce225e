"""Says how targets are whenever that changes: in the log, and to the targets that ask for it by name.

Not here: how one is (``standing``), and who is told (``telling``).
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from cdmd.contracts import Clock, Store
from cdmd.deliveries.standing import Standing, told_of
from cdmd.deliveries.subscribing import Subscriptions
from cdmd.deliveries.telling import Telling
from cdmd.errors import CdmdError
from cdmd.models import Micros, to_micros

_MOST_NEWS: Final = 1_000
"""Where the store takes nothing, the oldest give way."""


class Announcing:
    """Remembers how each live target was when somebody looked last."""

    def __init__(self, store: Store, *, subscriptions: Callable[[], Subscriptions], clock: Clock) -> None:
        self._store, self._subscriptions, self._clock = store, subscriptions, clock
        self._stood: dict[str, Standing] = {}
        self._news: deque[tuple[Mapping[str, Any], Micros]] = deque(maxlen=_MOST_NEWS)
        self._log: Any = structlog.get_logger()

    def begin(self, name: str, now: Standing) -> None:
        """A target is live: what it is like then is nobody's news."""
        self._stood[name] = now

    def end(self, name: str) -> None:
        """It is no more."""
        self._stood.pop(name, None)

    def look(self, name: str, kind: str, now: Standing) -> bool:
        """A live target may be other than it was; whether that is news."""
        before = self._stood.get(name)
        if before is None:
            return False
        self._stood[name] = now
        if now.state == before.state:
            return False
        say = self._log.info if now.state == "active" else self._log.warning
        say("target_state", target=name, state=now.state, reason=_word(now.reason or ""))
        self._news.append((told_of(name, kind, before=before, now=now), to_micros(self._clock.now())))
        return True

    async def tell(self) -> None:
        """Put the news into the outbox; what cannot be put there now waits for the next time."""
        while self._news:
            told = self._news[0]
            telling = Telling(self._subscriptions())
            telling.stood(*told)
            try:
                if (outgoing := telling.outgoing()) is not None:
                    await self._store.outbox.put(outgoing, now=to_micros(self._clock.now()))
            except CdmdError as error:
                self._log.warning("target_not_told", target=told[0]["name"], error=error)
                return
            if self._news and self._news[0] is told:
                self._news.popleft()


def _word(reason: str) -> str:
    return reason.partition(":")[0].replace(" ", "_") or "none"
