"""Who enters and leaves an audience in a batch, when, and why: the same however often it is applied.

A profile is judged as of the receipt of the event that touches it, never earlier than it was judged before; what its windows
let go of in between is made up for first, each step as of its own moment. So the clock's sweep and the events come to the same,
whichever is first. Pure.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from cdmd.deliveries.telling import Telling
from cdmd.kit.conditions import Failures
from cdmd.models import Changes, Micros, Notice, ProfileKey, ProfileState
from cdmd.profiles.audiences import Audience, Audiences

TIME_PASSED: Final = "time passed"
MERGED: Final = "merged into another profile"
COMPUTED: Final = "computed from what is stored"
NOT_CONFIGURED: Final = "no longer configured"

_AHEAD: Final = 64
_LONGEST_REASON: Final = 200
_DIGEST: Final = blake2b(digest_size=16, person=b"cdmd audience")


class Judging:
    """What one batch comes to say.

    ``now`` is the wall clock: a profile that was judged later than that, because the clock was set back, is not held to it.
    ``telling`` (None: there are no targets) hears who enters and leaves.
    """

    def __init__(self, audiences: Audiences, *, journal_id: str, now: Micros, telling: Telling | None = None) -> None:
        self.audiences, self._journal_id, self._now, self._telling = audiences, journal_id, now, telling
        self._was_due: dict[ProfileKey, tuple[int | None, int | None]] = {}
        self._notices: list[Notice] = []
        self._failures: dict[str, Failures] = {}

    def into(self, changes: Changes) -> None:
        """Put it into ``changes``, whose profiles are complete."""
        changes.due = {key: (was, due) for key, (was, due) in self._was_due.items() if was != due}
        changes.notices, changes.failures = self._notices, self._failures
        if self._telling is not None:
            changes.outgoing = self._telling.outgoing()

    def moment(self, state: ProfileState, received: Micros) -> Micros:
        """As of when a profile is judged for an event of that receipt."""
        return Micros(max(received, min(state.judged, self._now)))

    def catch_up(self, key: ProfileKey, state: ProfileState, upto: Micros) -> None:
        """Every step of its windows that came before ``upto``, each as of its own moment."""
        while state.due is not None and state.due <= upto:
            at = Micros(state.due)
            self.judge(key, state, self.audiences.by_clock, at=at, why=TIME_PASSED)

    def judge(
        self, key: ProfileKey, state: ProfileState, which: Iterable[Audience], *, at: Micros, why: str, seq: int = 0
    ) -> None:
        """Decide about ``which`` as of ``at`` because of ``why`` (an event: at ``seq``), and when to do so next."""
        for move in self.audiences.judge(state, at, which, self._failures):
            self._say(key, state, move.audience, entered=move.entered, at=at, why=why, seq=seq)
        state.judged = int(at)
        if (due := self.audiences.expires(state, at)) != state.due:
            self._due(key, state, due)

    def look_ahead(self, key: ProfileKey, state: ProfileState) -> None:
        """Put off its moment past steps that will change nothing, as far as it is known now."""
        trial, which = _copy(state), self.audiences.by_clock
        ignored: dict[str, Failures] = {}
        for _ in range(_AHEAD):
            if trial.due is None or self.audiences.judge(trial, Micros(trial.due), which, ignored):
                break
            trial.due = self.audiences.expires(trial, Micros(trial.due))
        self._due(key, state, trial.due)

    def leave(self, key: ProfileKey, state: ProfileState, names: Iterable[str], *, at: Micros, why: str, seq: int = 0) -> None:
        """It is out of these audiences."""
        gone = [name for name in names if name in state.audiences]
        for name in gone:
            self._say(key, state, name, entered=False, at=at, why=why, seq=seq)
        if gone:
            state.audiences = {name: since for name, since in state.audiences.items() if name not in gone}

    def vanish(self, key: ProfileKey, state: ProfileState, *, at: Micros, seq: int) -> None:
        """It became part of another profile: it is in nothing and waits for nothing."""
        self.leave(key, state, list(state.audiences), at=at, why=MERGED, seq=seq)
        self._due(key, state, None)

    def _due(self, key: ProfileKey, state: ProfileState, due: int | None) -> None:
        if due != state.due:
            was, _ = self._was_due.get(key, (state.due, None))
            self._was_due[key] = was, due
            state.due = due

    def _say(self, key: ProfileKey, state: ProfileState, name: str, *, entered: bool, at: Micros, why: str, seq: int) -> None:
        named = f"{self._journal_id}:{state.public}:{name}:{entered}:{at}:{seq}"
        digest = _DIGEST.copy()
        digest.update(named.encode())
        why = why[:_LONGEST_REASON]
        shown = digest.hexdigest()
        notice = Notice(id=shown, audience=name, profile=key, public=state.public, entered=entered, at=at, reason=why)
        self._notices.append(notice)
        if self._telling is not None:
            self._telling.notice(notice, state, by_clock=not seq)


def _copy(state: ProfileState) -> ProfileState:
    """A shallow copy: what is in it is replaced, never altered."""
    return ProfileState(*(getattr(state, field) for field in state.__struct_fields__))
