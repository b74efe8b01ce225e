"""A customer who is stored and not used from now on, or used again, because an administrator said so. Pure.

Events say the same by their types (``cdmd.profiles.purposes``); whoever spoke last counts.
"""

from typing import Final

from msgspec.structs import replace

from cdmd.batches.judging import Judging
from cdmd.batches.rules import telling
from cdmd.deliveries.subscribing import Subscriptions
from cdmd.identity.identifiers import Pair
from cdmd.models import Changes, Known, Micros, ProfileState, TraitState, Wanted
from cdmd.profiles.audiences import Audiences

SOURCE: Final = "cdmctl"
_WHY: Final = {True: "processing was restricted", False: "processing is no longer restricted"}


class Restricting:
    """The owner of an identifier, as of ``now``.

    Afterwards: ``owner`` as it became (None: nobody is known by it), and whether it ``changed``.
    """

    def __init__(
        self,
        pair: Pair,
        audiences: Audiences,
        *,
        restricted: bool,
        journal_id: str,
        now: Micros,
        subscriptions: Subscriptions | None = None,
    ) -> None:
        self._pair, self._audiences, self._restricted = pair, audiences, restricted
        self._journal_id, self._now, self._subscriptions = journal_id, now, subscriptions
        self.owner: ProfileState | None = None
        self.changed = False
        self.wanted = Wanted((), (pair,))

    def __call__(self, known: Known) -> Changes:
        """What changes about it."""
        key = known.owners.get(self._pair)
        self.owner, self.changed = None, False
        if key is None:
            return Changes()
        mine = self.owner = replace(known.profiles[key])
        before = mine.restricted
        self.changed = self._restricted != (before is not None and bool(before.value))
        if not self.changed:
            return Changes()
        at = self._now if before is None else max(self._now, before.time + 1)
        mine.restricted = TraitState(value=self._restricted, time=at, seq=0, source=SOURCE)
        # It is on the disk before anybody is told: nothing would bring it back after a power cut.
        changes = Changes(profiles={key: mine}, owners={self._pair: key}, swayed=True)
        judging = Judging(self._audiences, journal_id=self._journal_id, now=self._now, telling=telling(self._subscriptions))
        moment = judging.moment(mine, self._now)
        judging.catch_up(key, mine, moment)
        judging.judge(key, mine, self._audiences.every, at=moment, why=_WHY[self._restricted])
        judging.into(changes)
        return changes
