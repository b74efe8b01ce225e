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
    """What was counted of the stored activities of a profile that was ``read``, up to which of them.

    ``heads`` are the newest, by profile.
    """

    read: ProfileState
    heads: Mapping[ProfileKey, Seq] = {}
    held: dict[str, IndicatorState] = {}


class Computing:
    """Profiles given what their stored past comes to, and judged anew.

    ``past`` is what was counted for each, of the indicators ``names``; whoever is another one meanwhile is left as it is and
    ends in ``behind``, with what is to be counted on from. ``which`` are the audiences to judge.
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
        self.behind: dict[ProfileKey, Past] = {}
        self.wanted = Wanted((), (), profiles=sorted({one for key, each in past.items() for one in members_of(key, each.read)}))

    def __call__(self, known: Known) -> Changes:
        """What becomes of them."""
        changes = Changes()
        judging = _judging(self._audiences, self._subscriptions, journal_id=self._journal_id, now=self._now)
        self.behind = {}
        for key, past in self._past.items():
            state = known.profiles.get(key)
            if state is None or state.merged_into is not None:
                continue
            if self._names and not is_as_read(key, past.read, past.heads, known):
                self.behind[key] = _further(key, past, known)
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


def is_as_read(key: ProfileKey, read: ProfileState, heads: Mapping[ProfileKey, Seq], known: Known) -> bool:
    """Whether the profile is still what was ``read`` of it, but for what the clock alone brings about.

    ``heads`` are the newest activities of it and its members. Whoever reads long before writing asks this last.
    """
    state = known.profiles.get(key)
    if state is None or _timeless(state) != _timeless(read):
        return False
    return all(known.newest.get(one) == heads.get(one) for one in members_of(key, state))


def _further(key: ProfileKey, past: Past, known: Known) -> Past:
    """What was counted holds where only events came; who may have been made anew is counted from the beginning."""
    state, came = known.profiles[key], any(known.newest.get(one) != seq for one, seq in past.heads.items())
    same = came and _named(state) == _named(past.read)
    return Past(state, past.heads, past.held) if same else Past(state)


def _named(state: ProfileState) -> object:
    return [(one.kind, one.value) for one in state.identifiers], state.members


def _timeless(state: ProfileState) -> ProfileState:
    return msgspec.structs.replace(state, audiences={}, judged=0, due=None)


def members_of(key: ProfileKey, state: ProfileState) -> list[ProfileKey]:
    """It and all that were merged into it."""
    return [key, *(ProfileKey(member) for member in state.members)]
