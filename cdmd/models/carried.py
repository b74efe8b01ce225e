"""What of a stored event decides whose it is."""

from collections.abc import Sequence
from typing import NamedTuple

from cdmd.models.profiles import Merge, ProfileState
from cdmd.models.times import Micros, ProfileKey, Seq


class Carried(NamedTuple):
    """``profile`` is the one that the event was applied to, ``pairs`` what it can be found by, strongest first.

    ``derived`` are those of them that did not arrive. Its first four fields are the order in which events count. One of a
    ``seq`` below zero stands for events that are no longer kept.
    """

    time: Micros
    source: str
    id: str
    seq: Seq
    profile: ProfileKey
    pairs: Sequence[tuple[str, str]]
    derived: Sequence[tuple[str, str]] = ()


class Emerged(NamedTuple):
    """One of the people who come out of a rehearsal: its state, its events with the rule of each, and how it was joined."""

    state: ProfileState
    events: Sequence[tuple[Carried, str]]
    merges: Sequence[Merge]
