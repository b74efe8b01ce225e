"""Bytes sealed with a key that both ends have: whoever has it not can neither read nor make them (AES-GCM, 256 bits).

Not here: where the key comes from, and what was sealed before being shown once more.
"""

import os
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cdmd.errors import NotPermitted

_NONCE = 12


class Seal:
    """``key`` has 32 bytes; ``random`` gives so many bytes as it is asked for."""

    def __init__(self, key: bytes, *, random: Callable[[int], bytes] = os.urandom) -> None:
        self._cipher, self._random = AESGCM(key), random

    def close(self, body: bytes, about: str) -> bytes:
        """Sealed, for nothing else than ``about``."""
        nonce = self._random(_NONCE)
        return nonce + self._cipher.encrypt(nonce, body, about.encode())

    def open(self, sealed: bytes, about: str) -> bytes:
        """What was sealed about that. Raises ``NotPermitted`` for anything else."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], about.encode())
        except (InvalidTag, ValueError) as error:
            raise NotPermitted("this was not sealed with the key that all nodes have") from error
