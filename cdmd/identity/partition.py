"""Which lane of the journal an event goes into: that of its strongest identifier, so that one customer's keep their order.

By a keyed hash: what stands beside an event must not tell who it is about. Decided when it arrives and kept with it, because
what is the strongest may be configured otherwise later. Pure.
"""

from collections.abc import Callable
from hashlib import blake2b

from cdmd.identity.identifiers import Kinds
from cdmd.models import Event

BYTES = 2


class Partition:
    """``kinds`` are those configured now, ``key`` is of at most 64 bytes."""

    def __init__(self, key: bytes, kinds: Callable[[], Kinds]) -> None:
        self._hash, self._kinds = blake2b(key=key, digest_size=BYTES, person=b"cdmd lane"), kinds

    def __call__(self, event: Event) -> int:
        """A number below 65,536; of an event without a usable identifier that of its source and id."""
        pairs = self._kinds().usable(event.identifiers) if event.identifiers else []
        name, value = pairs[0] if pairs else ("", f"{event.source}\0{event.id}")
        found = self._hash.copy()
        found.update(f"{name}\0{value}".encode())
        return int.from_bytes(found.digest(), "big")
