"""Public profile ids: computed from the journal, not drawn, so that a repeated batch gives the same ids.

Not for: the store's own profile keys, which never leave the daemon.
"""

from hashlib import blake2b
from typing import Final

from cdmd.models import Micros, Seq

_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = [first + second for first in _CROCKFORD for second in _CROCKFORD]
"""Two characters for each ten bits: a third of the time that the standard library's base 32 takes."""

_SHIFTS: Final = range(120, -1, -10)
_LAST_MILLISECOND: Final = 2**48 - 1


def public_id(journal_id: str, seq: Seq, at: Micros) -> str:
    """The ULID (26 characters, Crockford's base 32) of the profile that the event at ``seq`` creates.

    Its 48 bits of time are ``at`` in milliseconds (held within 1970 and what 48 bits can say), its 80 other bits a digest of
    the journal's id and ``seq``. Format: https://github.com/ulid/spec
    """
    milliseconds = min(max(at // 1000, 0), _LAST_MILLISECOND)
    digest = blake2b(f"{journal_id}:{seq}".encode(), digest_size=10, person=b"cdmd profile").digest()
    number = milliseconds << 80 | int.from_bytes(digest)
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])
