"""What of the data that is nobody's yet is about somebody: dead letters, parked and journaled events, connectors' rows. Pure.

An event is about a person when one of its identifiers, in its one form, is the person's; a record that could not be mapped when
one of the texts in it is; a connector's row when it holds one. Texts of fewer than ``SHORTEST`` characters say nothing there.
"""

from collections.abc import Collection

from cdmd.contracts import Naming
from cdmd.models import Entry, Event
from cdmd.privacy.screening import Pair
from cdmd.privacy.texts import SHORTEST, texts_of


class Holder:
    """The person whose identifiers these are."""

    def __init__(self, owned: Collection[Pair], kinds: Naming) -> None:
        self._owned, self._kinds = frozenset(owned), kinds
        self._kinds_owned = sorted({kind for kind, _ in owned})
        self._texts = sorted({value.casefold().encode() for _, value in owned if len(value) >= SHORTEST})

    def concerns(self, entry: Entry) -> bool:
        """Whether the entry is about the person."""
        return self._named(entry.event) or (bool(entry.raw) and self._within(entry.raw))

    def in_row(self, key: bytes, value: bytes) -> bool:
        """Whether a connector's row holds one of the person's identifiers."""
        row = (key + b"\0" + value).decode("utf-8", "replace").casefold().encode()
        return any(text in row for text in self._texts)

    def _named(self, event: Event) -> bool:
        pairs = self._kinds.usable(event.identifiers)
        return any(one in self._owned for pair in pairs for one in (pair, *self._kinds.digests(pair)))

    def _within(self, raw: bytes) -> bool:
        return any(self._kinds.normalise(kind, text) in self._owned for text in texts_of(raw) for kind in self._kinds_owned)
