"""Spreadsheets and Parquet read by processes of their own, with a bound on their memory and their time.

Of a sheet with two cells far apart the library makes a table of billions, of a few bytes of Parquet a page of any size, and
what it cannot allocate may end its process: there is no exception to catch. So that is a child's end, and a fault of the file;
whatever else ends the child is none of the file's, and its reading is tried again. Not here: what rows mean (``xlsx``).
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from struct import Struct
from typing import Any, BinaryIO, Final

import msgspec

from cdmd.errors import FormatFault, ReaderEnded, SourceUnavailable
from cdmd.kit.quantities import Size

LIBRARY: Final = "python_calamine"

ROW, REFUSED, END, ASK = range(4)
"""What a frame is: a row or some of them, the code and sentence of a fault of the file, nothing more, or what is to be read."""

LENGTH: Final = Struct("!I")
"""What every frame begins with: how many bytes of MessagePack follow."""

LARGE: Final = 1
"""The MessagePack extension that a whole number of more than 64 bits is."""

PIECE: Final = 2**18
"""Bytes that are read at a time, and asked for at most."""

_ARROW: Final = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "ARROW_IO_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""What it allocates is what it needs: no pool that takes more, and no threads with pools of their own."""

_THE_FILES: Final = {-signal.SIGABRT, -signal.SIGXCPU, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGILL, -signal.SIGFPE}
"""What ends a child over a file, beside an exception: memory that it may not have, its time, a fault in the library."""


def rows_apart(content: bytes, sheet: str | None, *, memory: Size, seconds: int) -> Iterator[tuple[int, list[Any]]]:
    """(row, counted from 1, cells as JSON has them) for every row of a sheet that is not empty; of the first sheet for None.

    The child may use so much ``memory`` and so many ``seconds`` of a processor. It blocks. Raises ``FormatFault``, also where
    the file is the child's end, ``ReaderEnded`` where something else is, and ``SourceUnavailable`` where it cannot be started.
    """
    arguments = [memory.bytes, seconds, *([] if sheet is None else [sheet])]
    with _held(content) as file, _started("reading", *arguments, stdin=file) as child:
        for kind, found in _frames(child.stdout):
            if kind == END:
                return
            if kind == REFUSED:
                raise FormatFault(*found)
            place, cells = found
            yield place, cells
        _say_end(child, "spreadsheets")
        raise FormatFault(
            "unreadable",
            f"the spreadsheet cannot be read with {memory} of memory in {seconds} s: it is damaged, cells of it stand far from "
            "the others, or it needs more (save what is needed of it anew or as CSV, or raise max_memory)",
        )


def columns_apart(
    stream: BinaryIO, columns: Sequence[str] | None, *, memory: Size, record: Size
) -> Iterator[dict[str, Any] | list[str]]:
    """The rows of a Parquet file as JSON has them, or the code and the sentence of a row's fault.

    The child asks for what it reads of the ``stream``, piece by piece: so it needs neither its key nor its file, and what is
    sealed on the disk stays so. Raises as ``rows_apart``, and OSError as the stream does.
    """
    size = stream.seek(0, os.SEEK_END)
    wanted = msgspec.json.encode(columns).decode()
    with _started("columnar", memory.bytes, record.bytes, size, wanted, stdin=subprocess.PIPE) as child:
        for kind, found in _frames(child.stdout):
            if kind == END:
                return
            if kind == REFUSED:
                raise FormatFault(*found)
            if kind == ASK:
                _answer(child.stdin, stream, *found)
            else:
                yield from found
        _say_end(child, "Parquet files")
        raise FormatFault(
            "unreadable",
            f"the Parquet file cannot be read with {memory} of memory, or a stretch of it not in the time it may take: it is "
            "damaged, or it needs more (write it anew with smaller row groups and pages, or raise max_memory)",
        )


def _answer(sink: Any, stream: BinaryIO, place: int, size: int) -> None:
    stream.seek(place)
    piece = stream.read(min(size, PIECE))
    with suppress(BrokenPipeError):  # it has ended, which is told by what it does not write any more
        sink.write(LENGTH.pack(len(piece)) + piece)
        sink.flush()


def _say_end(child: "subprocess.Popen[bytes]", what: str) -> None:
    """Raise where it is not the file that ended it."""
    if (ended := child.wait()) < 0 and ended not in _THE_FILES:
        raise ReaderEnded(
            f"the process that reads {what} was ended from outside (signal {-ended}): the kernel does that where the "
            "service has too little memory; give it more, or less to the format (max_memory)"
        )


def _frames(output: Any) -> Iterator[tuple[int, Any]]:
    """What each frame holds, to the first that is not whole: there the child has ended."""
    while len(head := output.read(LENGTH.size)) == LENGTH.size:
        (size,) = LENGTH.unpack(head)
        if len(body := output.read(size)) < size:
            return
        yield _DECODE(body)


def _large(code: int, content: memoryview) -> int:
    return int.from_bytes(content, "big", signed=True)


_DECODE: Final = msgspec.msgpack.Decoder(ext_hook=_large).decode


@contextmanager
def _held(content: bytes) -> Iterator[int]:
    """A file in memory with that content."""
    file = os.memfd_create("cdmd-sheet")
    try:
        with os.fdopen(file, "wb", closefd=False) as writing:
            writing.write(content)
        os.lseek(file, 0, os.SEEK_SET)
        yield file
    finally:
        os.close(file)


@contextmanager
def _started(module: str, *arguments: object, stdin: int) -> Iterator["subprocess.Popen[bytes]"]:
    """The child, which inherits what it reads from and nothing of our environment, and is gone when this ends.

    Raises ``SourceUnavailable``.
    """
    path = os.pathsep.join(place for place in sys.path if place)
    try:
        child = subprocess.Popen(  # noqa: S603 - a module of ours
            [sys.executable, "-m", f"cdmd.connectors.formats.{module}", *map(str, arguments)],
            stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=PIECE,
            env={"PYTHONPATH": path, "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"} | _ARROW,
        )  # fmt: skip
    except OSError as error:
        raise SourceUnavailable(f"the process that reads the file cannot be started: {error.strerror}") from error
    try:
        yield child
    finally:
        child.kill()
        with suppress(BrokenPipeError), child:  # what was to be written to one that is gone
            pass
