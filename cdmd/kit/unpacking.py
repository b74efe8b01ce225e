"""A file as it was packed, whatever by: gzip, zstd and zip told by content, decrypted by gpg where that is asked for.

Everything is bounded: what comes out in bytes and against what went in, the number of entries, one level of packing. A file
that ends before its packing says so is a fault at its end, never a short file. It blocks: for a worker thread.
"""

import fnmatch
import io
import lzma
import stat
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import msgspec
from typing_extensions import override

from cdmd.errors import FormatFault
from cdmd.kit.pgp import Gpg, decrypted

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_GZIP, _ZSTD, _ZIP, _ARMOR = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", (b"PK\x03\x04", b"PK\x05\x06"), b"-----BEGIN PGP MESSAGE"
_PIECE: Final = 2**16
_UNJUDGED: Final = 16 * 2**20
"""Bytes that may come out before the ratio counts: small files of blanks are no bombs."""

_OFFICE: Final = "[Content_Types].xml"
_ENCRYPTED: Final = 0x1


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What unpacking may cost: bytes that come out, how many times more than went in, entries of a zip."""

    max_bytes: int = 20 * 2**30
    max_ratio: int = 100
    max_entries: int = 1000


BOUNDS: Final = Bounds()


@contextmanager
def unpacked(
    file: Path | BinaryIO, *, bounds: Bounds = BOUNDS, entry: str = "*", gpg: Gpg | None = None, password: bytes | None = None
) -> Iterator[BinaryIO]:
    """The content of ``file``, a path or a stream that can seek (left open), as a stream.

    ``entry`` is a glob that exactly one entry of a zip must match; ``gpg`` decrypts first; ``password`` is a zip's. Office
    files are zips, too, and stay as they are. Raises ``FormatFault``, also while the stream is read.
    """
    with ExitStack() as stack:
        raw = stack.enter_context(file.open("rb")) if isinstance(file, Path) else file
        if gpg is not None:
            raw = stack.enter_context(decrypted(raw, gpg))
        head, raw = _headed(raw)
        if head.startswith(_ARMOR):
            raise FormatFault("encrypted", "the file is encrypted with PGP; say how to decrypt it")
        plain = stack.enter_context(_opened(head, raw, bounds=bounds, entry=entry, password=password))
        yield plain


def entries(file: Path | BinaryIO, *, entry: str = "*", bounds: Bounds = BOUNDS) -> list[str]:
    """The names of a zip's entries that match the glob, in order of name; one empty name for any other file.

    Raises ``FormatFault``.
    """
    with ExitStack() as stack:
        raw = stack.enter_context(file.open("rb")) if isinstance(file, Path) else file
        head, raw = _headed(raw)
        if not head.startswith(_ZIP):
            return [""]
        archive = stack.enter_context(_archive(raw, bounds))
        return [""] if _OFFICE in archive.namelist() else sorted(info.filename for info in _matching(archive, entry))


def _headed(raw: Any) -> tuple[bytes, Any]:
    if raw.seekable():
        head = raw.read(len(_ARMOR))
        raw.seek(0)
        return head, raw
    buffered = io.BufferedReader(raw, _PIECE)
    return buffered.peek(len(_ARMOR))[: len(_ARMOR)], buffered


@contextmanager
def _opened(head: bytes, raw: Any, *, bounds: Bounds, entry: str, password: bytes | None) -> Iterator[BinaryIO]:
    if head.startswith(_ZIP):
        if not raw.seekable():
            raise FormatFault("unseekable", "an encrypted zip cannot be read; encrypt its content instead, or use gzip")
        with _archive(raw, bounds) as archive:
            if _OFFICE in archive.namelist():
                raw.seek(0)
                yield raw
                return
            info = _only(archive, entry)
            with _entry(archive, info, password) as content:
                yield _refusing_nests(_Bounded(content.read, lambda: info.compress_size, bounds))
    elif head.startswith(_GZIP):
        yield _refusing_nests(_bounded(raw, _Gunzip, bounds))
    elif head.startswith(_ZSTD):
        yield _refusing_nests(_bounded(raw, zstd.ZstdDecompressor, bounds))
    else:
        yield raw


def _refusing_nests(raw: io.RawIOBase) -> BinaryIO:
    stream = io.BufferedReader(raw, _PIECE)
    if stream.peek(4)[:4].startswith((_GZIP, _ZSTD, *_ZIP)):
        raise FormatFault("nested", "there is another packed file in this packed file; only one level is unpacked")
    return stream


# ---- zip -----------------------------------------------------------------------------------------------------------


@contextmanager
def _archive(raw: Any, bounds: Bounds) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(raw)
    except NotImplementedError as error:
        raise FormatFault("unsupported", f"the zip is of a kind that is not understood: {error}") from error
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise FormatFault("truncated", "the zip has no directory at its end: it is cut or damaged") from error
    with archive:
        if len(archive.infolist()) > bounds.max_entries:
            raise FormatFault("too_many_entries", f"the zip has more than {bounds.max_entries} entries")
        yield archive


def _matching(archive: zipfile.ZipFile, entry: str) -> list[zipfile.ZipInfo]:
    return [info for info in archive.infolist() if _is_file(info) and fnmatch.fnmatchcase(info.filename, entry)]


def _is_file(info: zipfile.ZipInfo) -> bool:
    mode = info.external_attr >> 16
    hidden = info.filename.startswith("__MACOSX/") or info.filename.rpartition("/")[2].startswith(".")
    return not info.is_dir() and not hidden and (not stat.S_IFMT(mode) or stat.S_ISREG(mode))


def _only(archive: zipfile.ZipFile, entry: str) -> zipfile.ZipInfo:
    found = _matching(archive, entry)
    if len(found) != 1:
        many = f"{len(found)} entries" if found else "no entry"
        raise FormatFault("not_one_entry", f"the zip has {many} that match {entry!r}; one is needed")
    return found[0]


@contextmanager
def _entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, password: bytes | None) -> Iterator[Any]:
    if info.flag_bits & _ENCRYPTED and password is None:
        raise FormatFault("encrypted", "the zip is encrypted; say its password")
    try:
        content = archive.open(info, pwd=password)
    except RuntimeError as error:
        raise FormatFault("wrong_password", "the zip's password is wrong") from error
    except NotImplementedError as error:
        raise FormatFault("unsupported", f"the zip is packed in a way that is not understood: {error}") from error
    except (zipfile.BadZipFile, OSError, ValueError) as error:  # places before its beginning, names that are no text
        raise FormatFault("damaged", "the zip's entry cannot be opened: it is damaged") from error
    with content:
        yield content


# ---- gzip and zstd -------------------------------------------------------------------------------------------------


class _Decompressor(Protocol):
    """One member or frame (``compression.zstd.ZstdDecompressor`` fulfils it)."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /, max_length: int = -1) -> bytes: ...


class _Gunzip:
    """zlib's decompressor with the others' manners."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self._more = False

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._more

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        found = self._inner.decompress(self._inner.unconsumed_tail + data, max(0, max_length))
        # What fits exactly may not be all there is.
        self._more = not self._inner.eof and (bool(self._inner.unconsumed_tail) or len(found) == max_length)
        return found


class _Members:
    """The members of a gzip or zstd file, one after the other; ``consumed`` counts the bytes that went in."""

    def __init__(self, raw: BinaryIO, make: Callable[[], _Decompressor]) -> None:
        self._raw, self._make, self._inner = raw, make, make()
        self.consumed = 0
        self._ahead = b""

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, empty at the end. Raises ``FormatFault`` where the end is not one."""
        while True:
            if self._inner.eof and not self._next():
                return b""
            piece = b""
            if self._inner.needs_input:
                piece, self._ahead = self._ahead or self._raw.read(_PIECE), b""
                self.consumed += len(piece)
                if not piece:
                    raise FormatFault("truncated", "the packed file ends before its content does: it is cut")
            if found := self._inner.decompress(piece, max_length=size):
                return found

    def _next(self) -> bool:
        """Begin the next member, where there is one; zeros after the last are padding."""
        rest = self._inner.unused_data or self._raw.read(_PIECE)
        self.consumed += 0 if self._inner.unused_data else len(rest)
        while rest and not rest.strip(b"\0"):
            rest = self._raw.read(_PIECE)
        if not rest:
            return False
        self._inner, self._ahead = self._make(), rest.lstrip(b"\0")
        self.consumed -= len(self._ahead)
        return True


def _bounded(raw: BinaryIO, make: Callable[[], _Decompressor], bounds: Bounds) -> "_Bounded":
    members = _Members(raw, make)
    return _Bounded(members.read, lambda: members.consumed, bounds)


class _Bounded(io.RawIOBase):
    """``read``'s bytes, counted against the bounds; ``consumed`` says how many went in so far, or will at most."""

    def __init__(self, read: Callable[[int], bytes], consumed: Callable[[], int], bounds: Bounds) -> None:
        self._read, self._consumed, self._bounds, self._out = read, consumed, bounds, 0

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any) -> int:
        piece = self._take(len(buffer))
        buffer[: len(piece)] = piece
        self._out += len(piece)
        if self._out > self._bounds.max_bytes:
            raise FormatFault("too_large", f"more than {self._bounds.max_bytes} bytes come out of the packed file")
        if self._out > max(_UNJUDGED, self._bounds.max_ratio * self._consumed()):
            raise FormatFault("bomb", f"what comes out of the packed file is more than {self._bounds.max_ratio} times its size")
        return len(piece)

    def _take(self, size: int) -> bytes:
        try:
            return self._read(size)
        except (zlib.error, zstd.ZstdError, lzma.LZMAError, zipfile.BadZipFile) as error:
            raise _damaged() from error
        except OSError as error:
            if error.errno is not None:  # the disk's; bzip2's own has none
                raise
            raise _damaged() from error
        except EOFError as error:
            raise FormatFault("truncated", "the packed file ends before its content does: it is cut") from error


def _damaged() -> FormatFault:
    return FormatFault("damaged", "the packed file is damaged: its content does not match its checksum")
