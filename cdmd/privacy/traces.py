"""What came with events that named somebody, and still says so in what other people's events add up to. Pure.

Of a trait, and of an indicator's first and last, the event is known that said it. What is taken out of these is not made up for
by what was said before. Of different values only digests are kept, and whoever guesses one finds it. Not here: what is left
of the events themselves (``screening``).
"""

from collections.abc import Collection

import msgspec
from msgspec.structs import replace

from cdmd.models import IndicatorState, Merge, ProfileState, Seq, TraitState
from cdmd.privacy.texts import Says, without


class Traces:
    """What came with the events ``seqs`` and ``says`` who somebody is; ``digests`` are those of what says it."""

    def __init__(self, seqs: Collection[Seq], says: Says, *, digests: Collection[int] = ()) -> None:
        self._seqs, self._says, self._digests = seqs, says, frozenset(digests)

    def left_of(self, state: ProfileState) -> ProfileState:
        """The profile without it; the same where it has none."""
        traits = {name: left for name, one in state.traits.items() if (left := self._said(one, name)) is not None}
        indicators = {name: self._counted(one) for name, one in state.indicators.items()}
        if (traits, indicators) == (state.traits, state.indicators):
            return state
        return replace(state, traits=traits, indicators=indicators)

    def left_of_merge(self, merge: Merge) -> Merge:
        """The merge with what is left of whoever was merged; the same where that is all."""
        before = self.left_of(merge.before)
        return merge if before is merge.before else replace(merge, before=before)

    def _said(self, one: TraitState | None, name: str = "") -> TraitState | None:
        if one is None or one.seq not in self._seqs:
            return one
        left = without(one.value, self._says)
        return None if left is msgspec.UNSET or self._says(name) else replace(one, value=left)

    def _counted(self, one: IndicatorState) -> IndicatorState:
        parts = {bucket: self._counted(part) for bucket, part in one.parts.items()}
        values = tuple([digest for digest in one.values if digest not in self._digests])
        return replace(one, first=self._said(one.first), last=self._said(one.last), values=values, parts=parts)
