"""Public profile ids: computed from the journal, not drawn, so that a repeated batch gives the same ids.

Not for: the store's own profile keys, which never leave the daemon.
"""

import base64
from hashlib import blake2b
from typing import Final

from cdmd.models import Micros, Seq

_CROCKFORD: Final = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789ABCDEFGHJKMNPQRSTVWXYZ")
_LAST_MILLISECOND: Final = 2**48 - 1


def public_id(journal_id: str, seq: Seq, at: Micros) -> str:
    """The ULID (26 characters, Crockford's base 32) of the profile that the event at ``seq`` creates.

    Its 48 bits of time are ``at`` in milliseconds (held within 1970 and what 48 bits can say), its 80 other bits a digest of
    the journal's id and ``seq``. Format: https://github.com/ulid/spec
    """
    milliseconds = min(max(at // 1000, 0), _LAST_MILLISECOND)
    digest = blake2b(f"{journal_id}:{seq}".encode(), digest_size=10, person=b"cdmd profile").digest()
    # 128 bits are 26 characters with two zero bits in front; base64 works on whole groups of 40 bits, so 32 more go before.
    return base64.b32encode(bytes(4) + milliseconds.to_bytes(6) + digest)[6:].translate(_CROCKFORD).decode()
