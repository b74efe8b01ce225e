"""One file's content on its way from the other side to the parser: on disk, sealed, digested, and gone by itself.

The file has no name (nothing is left of it after a crash) and is encrypted with a key that lives in this process only, so that
nothing about anybody can be read from the disk, not even from freed blocks. AES in counter mode costs a sixth of the digest.
Not here: whether the content may be used.
"""

import hashlib
import io
import os
import secrets
import tempfile
from pathlib import Path
from typing import BinaryIO, Final

import anyio.to_thread
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from typing_extensions import Buffer, override

from cdmd.kit.placed import Placed

_BLOCK: Final = 16
_STEP: Final = 256 * 1024


class Spool:
    """Filled by ``write`` in order, then read by ``reader`` as often as wanted; closing it lets the content go.

    Raises OSError as the disk does (it is full, say). Its methods that are not async block and are for a worker thread.
    """

    def __init__(self, handle: int) -> None:
        self._handle, self._key, self._nonce = handle, secrets.token_bytes(16), secrets.token_bytes(8)
        self._encrypt = _cipher(self._key, self._nonce, 0).encryptor()
        self._digest = hashlib.sha256()
        self.size = 0

    @classmethod
    async def create(cls, folder: Path) -> "Spool":
        """A new one, below ``folder`` (made with mode 0700)."""
        return cls(await anyio.to_thread.run_sync(_unnamed, folder))

    async def write(self, chunk: bytes) -> None:
        """Append, whole: a disk that refuses leaves it as it was."""
        await anyio.to_thread.run_sync(self._write, chunk)

    @property
    def digest(self) -> bytes:
        """SHA-256 of what was written."""
        return self._digest.digest()

    def reader(self) -> BinaryIO:
        """The content from its start, seekable; closing it does not close the spool."""
        return io.BufferedReader(_Unsealed(self._handle, self._key, self._nonce, self.size), _STEP)

    def close(self) -> None:
        """Free the disk."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _write(self, chunk: bytes) -> None:
        sealed = memoryview(self._encrypt.update(chunk))
        self._digest.update(chunk)
        place = self.size
        while sealed:
            written = os.pwrite(self._handle, sealed, place)
            sealed, place = sealed[written:], place + written
        self.size = place


class _Unsealed(Placed):
    """Decrypts what it reads, from any place: in counter mode every block stands for itself."""

    def __init__(self, handle: int, key: bytes, nonce: bytes, size: int) -> None:
        super().__init__(size)
        self._handle, self._key, self._nonce = handle, key, nonce

    @override
    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self.size - self.place))
        block, skipped = divmod(self.place, _BLOCK)
        sealed = os.pread(self._handle, wanted + skipped, block * _BLOCK)
        plain = _cipher(self._key, self._nonce, block).decryptor().update(sealed)[skipped:]
        view[: len(plain)] = plain
        self.place += len(plain)
        return len(plain)


def _cipher(key: bytes, nonce: bytes, block: int) -> Cipher[modes.CTR]:
    return Cipher(algorithms.AES(key), modes.CTR(nonce + block.to_bytes(8, "big")))


def _unnamed(folder: Path) -> int:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except (OSError, AttributeError):  # a file system without nameless files
        handle, name = tempfile.mkstemp(dir=folder)
        Path(name).unlink()
        return handle
