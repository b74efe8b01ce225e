"""The request budgets of all hosts and credentials: one each, whoever asks, over restarts.

They are kept in the journal beside the connectors' own state, under keyed digests: no host's credential can be tried against
them. Not here: what a budget allows (``cdmd.kit``).
"""

import random
from collections.abc import Sequence
from functools import partial
from typing import Final

from cdmd.contracts import Append, Clock, Journal
from cdmd.intake.shared import Digesting
from cdmd.kit.quantities import Rate
from cdmd.kit.shared_budget import SharedBudget

OWNER: Final = "daemon:budgets"
"""Whose state they are; no connector can have this name."""


class Budgets:
    """All of them. ``load`` what an earlier run kept before any connector starts."""

    def __init__(self, journal: Journal, *, digests: Digesting, clock: Clock) -> None:
        self._journal, self._digests, self._clock = journal, digests, clock
        self._saved: dict[bytes, bytes] = {}
        self._known: dict[bytes, bytes] = {}
        self._budgets: dict[bytes, SharedBudget] = {}
        self._wanted: dict[bytes, dict[str, Sequence[Rate]]] = {}

    async def load(self) -> None:
        """Learn what was sent before the restart, and where nodes divide the connectors what another one sent meanwhile."""
        self._saved = {key: value async for key, value in self._journal.scan(OWNER, b"")}
        for key in self._saved.keys() & self._budgets.keys():
            if (saved := self._saved.pop(key)) != self._known.get(key):
                self._budgets[key].restore(saved)
                self._known[key] = saved

    def of(self, connector: str, origin: str, credential: str, limits: Sequence[Rate]) -> SharedBudget:
        """The budget of this origin and credential. A connector that asks again replaces the limits it named before."""
        key = self._digests.secret(OWNER, f"{origin} {credential}")
        wanted = self._wanted.setdefault(key, {})
        wanted[connector] = limits
        every = [limit for named in wanted.values() for limit in named]
        if key in self._budgets:
            self._budgets[key].configure(every)
        else:
            self._budgets[key] = SharedBudget(
                every, clock=self._clock, chance=random.random, keep=partial(self._keep, key), saved=self._saved.pop(key, None)
            )
        return self._budgets[key]

    async def _keep(self, key: bytes, value: bytes) -> None:
        """Straight to the journal: what was sent has to be known even while the queue is full."""
        await self._journal.append([Append(connector=OWNER, state={key: value})])
        self._known[key] = value
