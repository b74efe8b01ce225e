"""Spreadsheets read by a process of their own, with a bound on its memory and its time.

Of a sheet with two cells far apart the library makes a table of billions, and what it cannot allocate ends its process: there
is no exception to catch. So that is a child's end, and a fault of the file; whatever else ends the child is none of the file's,
and its reading is tried again. Not here: what the rows mean (``xlsx``).
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct
from typing import Any, Final

import msgspec

from cdmd.errors import FormatFault, SourceUnavailable
from cdmd.kit.quantities import Size

LIBRARY: Final = "python_calamine"

ROW, REFUSED, END = range(3)
"""What a frame is: the cells of a row, the code and sentence of a fault of the file, or nothing more."""

LENGTH: Final = Struct("!I")
"""What every frame begins with: how many bytes of MessagePack follow."""

_PIECE: Final = 2**18
_DECODE: Final = msgspec.msgpack.Decoder().decode

_THE_FILES: Final = {-signal.SIGABRT, -signal.SIGXCPU, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGILL, -signal.SIGFPE}
"""What ends a child over a file, beside an exception: memory that it may not have, its time, a fault in the library."""


def rows_apart(content: bytes, sheet: str | None, *, memory: Size, seconds: int) -> Iterator[tuple[int, list[Any]]]:
    """(row, counted from 1, cells as JSON has them) for every row of a sheet that is not empty; of the first sheet for None.

    The child may use so much ``memory`` and so many ``seconds`` of a processor. It blocks. Raises ``FormatFault``, also where
    the file is the child's end, and ``SourceUnavailable`` where something else is, or it cannot be started.
    """
    with _held(content) as file, _started(file, memory.bytes, seconds, *([] if sheet is None else [sheet])) as child:
        for kind, found in _frames(child.stdout):
            if kind == END:
                return
            if kind == REFUSED:
                raise FormatFault(*found)
            place, cells = found
            yield place, cells
        if (ended := child.wait()) < 0 and ended not in _THE_FILES:
            raise SourceUnavailable(
                f"the process that reads spreadsheets was ended from outside (signal {-ended}): the kernel does that where the "
                "service has too little memory; give it more, or less to the format (max_memory)"
            )
        raise FormatFault(
            "unreadable",
            f"the spreadsheet cannot be read with {memory} of memory in {seconds} s: it is damaged, cells of it stand far from "
            "the others, or it needs more (save what is needed of it anew or as CSV, or raise max_memory)",
        )


def _frames(output: Any) -> Iterator[tuple[int, Any]]:
    """What each frame holds, to the first that is not whole: there the child has ended."""
    while len(head := output.read(LENGTH.size)) == LENGTH.size:
        (size,) = LENGTH.unpack(head)
        if len(body := output.read(size)) < size:
            return
        yield _DECODE(body)


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
def _started(file: int, *arguments: object) -> Iterator["subprocess.Popen[bytes]"]:
    """The child, which inherits the file and nothing of our environment, and is gone when this ends.

    Raises ``SourceUnavailable``.
    """
    path = os.pathsep.join(place for place in sys.path if place)
    try:
        child = subprocess.Popen(  # noqa: S603 - a module of ours
            [sys.executable, "-m", "cdmd.connectors.formats.reading", *map(str, arguments)],
            stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=_PIECE,
            env={"PYTHONPATH": path, "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
    except OSError as error:
        raise SourceUnavailable(f"the process that reads spreadsheets cannot be started: {error.strerror}") from error
    with child:
        try:
            yield child
        finally:
            child.kill()
