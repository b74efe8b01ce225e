"""The suppression list: keyed digests of identifiers whose data is not kept. The list itself names nobody.

An identifier is on it, too, when one of its digests is (a supplier's hash of an address, say), of whichever kind, also of one
that is configured later. Pure: who keeps the list is the daemon's, what it means for an event stands in ``screening``.
"""

from collections.abc import Callable, Collection, Iterable
from collections.abc import Set as AbstractSet
from hashlib import blake2b
from typing import Any, Final

import msgspec
from typing_extensions import override

from cdmd.contracts import Naming, Screen
from cdmd.errors import Overloaded
from cdmd.models import Entry
from cdmd.privacy.screening import Pair, left_of

DIGEST_BYTES: Final = 16


class Suppression(msgspec.Struct, frozen=True, array_like=True):
    """What is kept beside a digest: since when (microseconds), and whether it came of an erasure."""

    since: int
    erased: bool = False


def _again(key: bytes, naming: Naming, digests: set[bytes] | None) -> "Suppressions":
    copied = Suppressions(key=key, naming=lambda: naming)
    if digests is not None:
        copied.load(digests)
    return copied


class Suppressions(Screen):
    """The list in memory, 16 bytes for each name of an identifier. Until it was read (``load``) nobody passes."""

    def __init__(self, *, key: bytes, naming: Callable[[], Naming]) -> None:
        self._key = key
        self._base = blake2b(key=key, digest_size=DIGEST_BYTES, person=b"cdmd suppressed")
        self._naming = naming
        self._digests: set[bytes] | None = None
        self._changes = 1

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, in another process too, is the list as it is now."""
        return _again, (self._key, self._naming(), self._digests)

    def __len__(self) -> int:
        return len(self._digests or ())

    @property
    @override
    def version(self) -> int:
        return 0 if self._digests is not None and not self._digests else self._changes

    def load(self, digests: Collection[bytes]) -> None:
        """This is the list."""
        self._digests = set(digests)
        self._changes += 1

    def change(self, *, added: Iterable[bytes] = (), removed: Iterable[bytes] = ()) -> None:
        """The list is another one now."""
        self.load((self._listed() | set(added)) - set(removed))

    def missing(self, digests: Iterable[bytes]) -> set[bytes]:
        """Those of them that are not on the list."""
        return set(digests) - self._listed()

    def digest(self, pair: Pair) -> bytes:
        """What stands on the list for an identifier in its one form."""
        digest = self._base.copy()
        digest.update(f"{pair[0]}\0{pair[1]}".encode("utf-8", "surrogatepass"))
        return digest.digest()

    def holds(self, pair: Pair) -> bool:
        """Whether the identifier, or a digest of it, is on the list."""
        return self.stands_in(self._listed(), pair)

    def stands_in(self, listed: AbstractSet[bytes], pair: Pair) -> bool:
        """The same of another list."""
        return self.digest(pair) in listed or any(self.digest(one) in listed for one in self._naming().aliases(pair))

    def digests(self, pair: Pair, naming: Naming) -> set[bytes]:
        """All that stands on the list for an identifier."""
        return {self.digest(one) for one in (pair, *naming.aliases(pair))}

    @override
    def screened(self, entry: Entry) -> Entry | None:
        return left_of(entry, self.holds, self._naming())

    def _listed(self) -> set[bytes]:
        if self._digests is None:
            raise Overloaded("the suppression list is not read yet, so nothing is taken", retry_after=5)
        return self._digests
