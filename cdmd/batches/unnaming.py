"""Profiles that say no more of somebody whom an event of theirs named, and are judged anew without it. Pure."""

from collections.abc import Sequence
from typing import Final

from cdmd.batches.judging import Judging
from cdmd.batches.rules import telling
from cdmd.deliveries.subscribing import Subscriptions
from cdmd.models import Changes, Known, Micros, ProfileKey, Wanted
from cdmd.privacy.traces import Traces
from cdmd.profiles.audiences import Audiences

_WHY: Final = "somebody else was erased"


class Unnaming:
    """The profiles ``keys``. Afterwards: how many ``changed``, and into which ``winners`` some of them were merged."""

    def __init__(
        self,
        keys: Sequence[ProfileKey],
        traces: Traces,
        audiences: Audiences,
        *,
        journal_id: str,
        now: Micros,
        subscriptions: Subscriptions | None = None,
    ) -> None:
        self._traces, self._audiences = traces, audiences
        self._journal_id, self._now, self._subscriptions = journal_id, now, subscriptions
        self.changed = 0
        self.winners: set[ProfileKey] = set()
        self.wanted = Wanted((), (), profiles=keys)

    def __call__(self, known: Known) -> Changes:
        """What changes about them."""
        states = {key: known.profiles[key] for key in self.wanted.profiles if key in known.profiles}
        self.winners = {ProfileKey(state.merged_into) for state in states.values() if state.merged_into is not None}
        left = {key: self._traces.left_of(state) for key, state in states.items()}
        # It is on the disk before anybody is told: nothing would bring it back after a power cut.
        changes = Changes(profiles={key: mine for key, mine in left.items() if mine is not states[key]}, swayed=True)
        self.changed = len(changes.profiles)
        judging = Judging(self._audiences, journal_id=self._journal_id, now=self._now, telling=telling(self._subscriptions))
        for key, mine in changes.profiles.items():
            if mine.merged_into is None:
                changes.owners |= {(one.kind, one.value): key for one in mine.identifiers[:1]}
                at = judging.moment(mine, self._now)
                judging.catch_up(key, mine, at)
                judging.judge(key, mine, self._audiences.every, at=at, why=_WHY)
        judging.into(changes)
        return changes
