"""What batches go by: the rules of deciding, which do not change from one to the next, and the pipeline's bounds."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from cdmd.contracts import Screen
from cdmd.deliveries.subscribing import Subscriptions
from cdmd.deliveries.telling import Telling
from cdmd.identity.identifiers import Kinds
from cdmd.models import ERASED, Digest, Entry, Event
from cdmd.profiles.audiences import Audiences


class Digester(Protocol):
    """Names an occurrence and its content without holding them (``cdmd.store.keys.Digester``)."""

    def occurrence(self, source: str, id: str) -> Digest:  # noqa: A002 - an event's own word
        """The keyed digest of (source, id)."""
        ...

    def content(self, event: Event) -> int:
        """A 64-bit digest of what the event says."""
        ...


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What does not change from batch to batch. ``parked_keep`` is in microseconds.

    ``reconciled``: the connectors that should have been told of what a stream finds, by the stream's source. Both bring the
    same events under the same ids, mapped in different ways. ``screen`` says of whom nothing may be kept;
    ``subscriptions`` what goes to targets, if there are any.
    """

    journal_id: str
    kinds: Kinds
    audiences: Audiences
    digester: Digester
    known_only: frozenset[str] = frozenset()
    reconciled: Mapping[str, str] = {}
    screen: Screen | None = None
    parked_max: int = 100_000
    parked_keep: int = 72 * 3600 * 1_000_000
    subscriptions: Subscriptions | None = None


def telling(subscriptions: Subscriptions | None) -> Telling | None:
    """What collects what one batch sends; None where nothing is sent to anybody."""
    return Telling(subscriptions) if subscriptions else None


def allowed(screen: Screen | None, entry: Entry) -> Entry | None:
    """The entry as far as it may be kept; None where nothing of it may be, or nothing of it is left."""
    if entry.fault is not None and entry.fault.code == ERASED:
        return None
    return entry if screen is None or not screen.version else screen.screened(entry)


class PipelineStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Figures for ``status``: entries not applied, batches in the window, calls left behind or resumed, and what is wrong."""

    backlog: int
    window: int
    parked_running: int
    failure: str | None


class PipelineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds. ``patience`` is how long (seconds) an event waits for another's extension; ``parked_keep`` is in seconds.

    ``window`` batches of events may be under way at once, and ``resuming`` events for each extension besides those. There is
    room in it for three of ``backlog_batch``: one is written, one decided and one looked up. Only whole
    batches go beside another, smaller ones wait and go together; where another process decides (``apart``) half is enough.
    """

    batch: int = 2000
    backlog_batch: int = 3000
    apart: bool = False
    window: int = 4
    patience: float = 0.25
    parked_max: int = 100_000
    parked_keep: float = 72 * 3600.0
    resuming: int = 128
    look: float = 1.0
