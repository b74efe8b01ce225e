"""Slices of profiles that are judged without an event: because time passed, or because the configuration is another one.

Each is a decision for the store's transaction, as a batch of events is (``deciding``), and small. Pure.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from cdmd.batches.judging import COMPUTED, NOT_CONFIGURED, Judging
from cdmd.batches.rules import telling
from cdmd.deliveries.subscribing import Subscriptions
from cdmd.models import Changes, IndicatorState, Known, Micros, ProfileKey, ProfileState, Seq, Wanted
from cdmd.profiles.audiences import Audience, Audiences


class Expiring:
    """The profiles ``keys`` whose moment has come, brought up to ``upto``."""

    def __init__(
        self,
        audiences: Audiences,
        keys: Sequence[ProfileKey],
        *,
        upto: Micros,
        journal_id: str,
        now: Micros,
        subscriptions: Subscriptions | None = None,
    ) -> None:
        self._audiences, self._upto, self._journal_id, self._now = audiences, upto, journal_id, now
        self._subscriptions = subscriptions
        self.wanted = Wanted((), (), profiles=keys)

    def __call__(self, known: Known) -> Changes:
        """What the passing of time changes about them."""
        changes = Changes()
        judging = _judging(self._audiences, self._subscriptions, journal_id=self._journal_id, now=self._now)
        for key, state in known.profiles.items():
            if state.due is not None and state.due <= self._upto:
                mine = changes.profiles[key] = msgspec.structs.replace(state)
                judging.catch_up(key, mine, self._upto)
                judging.look_ahead(key, mine)
        judging.into(changes)
        return changes


class Past(msgspec.Struct):
    """What was counted of a profile's stored activities, up to which of them: ``heads`` are the newest, by profile."""

    members: Sequence[ProfileKey]
    heads: Mapping[ProfileKey, Seq] = {}
    held: dict[str, IndicatorState] = {}


class Computing:
    """Profiles given what their stored past comes to, and judged anew.

    ``past`` is what was counted for each, of the indicators ``names``; whoever has newer activities meanwhile is left as it is
    and ends in ``behind``, with who belongs to it. ``which`` are the audiences to judge.
    """

    def __init__(
        self,
        audiences: Audiences,
        past: Mapping[ProfileKey, Past],
        *,
        names: Collection[str],
        which: Sequence[Audience],
        why: str = COMPUTED,
        journal_id: str,
        now: Micros,
        subscriptions: Subscriptions | None = None,
    ) -> None:
        self._subscriptions = subscriptions
        self._audiences, self._past, self._names, self._which, self._why = audiences, past, names, which, why
        self._journal_id, self._now = journal_id, now
        self.behind: dict[ProfileKey, Sequence[ProfileKey]] = {}
        self.wanted = Wanted((), (), profiles=sorted({key for one in past.values() for key in one.members} | past.keys()))

    def __call__(self, known: Known) -> Changes:
        """What becomes of them."""
        changes = Changes()
        judging = _judging(self._audiences, self._subscriptions, journal_id=self._journal_id, now=self._now)
        self.behind = {}
        for key, past in self._past.items():
            state = known.profiles.get(key)
            if state is None or state.merged_into is not None:
                continue
            if self._names and not _is_current(key, state, past, known):
                self.behind[key] = members_of(key, state)
                continue
            mine = msgspec.structs.replace(state)
            self._compute(key, mine, past, judging)
            if (mine.indicators, mine.audiences, mine.due) != (state.indicators, state.audiences, state.due):
                changes.profiles[key] = mine
        judging.into(changes)
        return changes

    def _compute(self, key: ProfileKey, state: ProfileState, past: Past, judging: Judging) -> None:
        at = judging.moment(state, self._now)
        judging.catch_up(key, state, at)
        if self._names:
            today = self._audiences.projection.definitions
            kept = {name: one for name, one in state.indicators.items() if name in today and name not in self._names}
            state.indicators = kept | past.held
        judging.judge(key, state, self._which, at=at, why=self._why)


class Removing:
    """The profiles ``keys`` leave an audience that is no longer configured."""

    def __init__(
        self,
        audiences: Audiences,
        name: str,
        keys: Sequence[ProfileKey],
        *,
        journal_id: str,
        now: Micros,
        subscriptions: Subscriptions | None = None,
    ) -> None:
        self._audiences, self._name, self._journal_id, self._now = audiences, name, journal_id, now
        self._subscriptions = subscriptions
        self.wanted = Wanted((), (), profiles=keys)

    def __call__(self, known: Known) -> Changes:
        """They are out."""
        changes = Changes()
        judging = _judging(self._audiences, self._subscriptions, journal_id=self._journal_id, now=self._now)
        for key, state in known.profiles.items():
            mine = changes.profiles[key] = msgspec.structs.replace(state)
            judging.leave(key, mine, [self._name], at=self._now, why=NOT_CONFIGURED)
        judging.into(changes)
        return changes


def _judging(audiences: Audiences, subscriptions: Subscriptions | None, *, journal_id: str, now: Micros) -> Judging:
    return Judging(audiences, journal_id=journal_id, now=now, telling=telling(subscriptions))


def would_change(audiences: Audiences, state: ProfileState, which: Sequence[Audience], now: Micros) -> bool:
    """Whether judging the profile anew may change it: worth a place in a slice."""
    trial = msgspec.structs.replace(state)
    return bool(audiences.judge(trial, now, which, {})) or (audiences.expires(state, now) is not None) != (
        state.due is not None
    )


def _is_current(key: ProfileKey, state: ProfileState, past: Past, known: Known) -> bool:
    members = members_of(key, state)
    return set(members) == set(past.members) and all(known.newest.get(one) == past.heads.get(one) for one in members)


def members_of(key: ProfileKey, state: ProfileState) -> list[ProfileKey]:
    """It and all that were merged into it."""
    return [key, *(ProfileKey(member) for member in state.members)]
