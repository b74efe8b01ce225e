"""Public profile ids: computed from the journal, not drawn, so that a repeated batch gives the same ids.

Not for: the store's own profile keys, which never leave the daemon.
"""

from hashlib import blake2b

from cdmd.kit.ulid import ulid
from cdmd.models import Micros, Seq


def public_id(journal_id: str, seq: Seq, at: Micros) -> str:
    """The ULID of the profile that the event at ``seq`` creates: its time is ``at``, the rest a digest of both."""
    return ulid(at, blake2b(f"{journal_id}:{seq}".encode(), digest_size=10, person=b"cdmd profile").digest())
