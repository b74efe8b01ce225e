"""Public profile ids: computed from the journal, not drawn, so that a repeated batch gives the same ids.

Not for: the store's own profile keys, which never leave the daemon.
"""

from hashlib import blake2b

from cdmd.kit.ulid import beginning, ending
from cdmd.models import Micros, Seq


class Naming:
    """The names of profiles that the events of one journal create."""

    def __init__(self, journal_id: str) -> None:
        self._journal = blake2b(f"{journal_id}:".encode(), digest_size=10, person=b"cdmd profile")
        self._at, self._begins = Micros(0), beginning(0)

    def public_id(self, seq: Seq, at: Micros) -> str:
        """The ULID of the one that the event at ``seq`` creates: its time is ``at``, the rest a digest of both."""
        digest = self._journal.copy()
        digest.update(b"%d" % seq)
        if at != self._at:
            self._at, self._begins = at, beginning(at)
        return self._begins + ending(digest.digest())


def public_id(journal_id: str, seq: Seq, at: Micros) -> str:
    """The same, for a single one."""
    return Naming(journal_id).public_id(seq, at)
