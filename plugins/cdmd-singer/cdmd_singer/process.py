"""A tap as a process: started within its limits, read no faster than records are stored, ended with all it started."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec
from anyio.abc import Process

import cdmd
from cdmd_singer.launch import NOT_FOUND
from cdmd_singer.messages import Line, Lines

_GRACE: Final = 2.0
_CHUNK: Final = 2**16
_LOG_LINE: Final = 2**13
_LAUNCHER: Final = str(Path(__file__).with_name("launch.py"))
_METRIC: Final = re.compile(rb"METRIC:\s*(\{.*\})\s*$")


class Limits(msgspec.Struct, frozen=True):
    """``silence`` (seconds) without a whole line end a tap; ``memory`` and ``line`` are bytes."""

    silence: float
    memory: int
    line: int


class Tap:
    """A tap that runs.

    ``counted`` is how many records it says of its streams that it wrote; all of it once ``listened``.
    """

    def __init__(self, process: Process, limits: Limits) -> None:
        self._process, self._limits, self._lines = process, limits, Lines(limits.line)
        self._waiting: list[Line] = []
        self._over = False
        self.listened = anyio.Event()
        self.counted: Counter[str] = Counter()

    async def next(self, *, within: float | None = None) -> Line | None:
        """The next line; None at the end. Raises TimeoutError when there is none ``within`` seconds.

        Raises ``cdmd.SourceUnavailable`` where the tap is silent for too long: bytes without an end of a line are silence.
        Nothing is read ahead of what is asked for but one chunk, so a tap whose records are not stored yet has to wait.
        """
        if self._waiting:
            return self._waiting.pop(0)
        if self._over:
            return None
        with anyio.fail_after(within if within is not None else self._limits.silence):
            while not self._waiting and not self._over:
                await self._read()
        return self._waiting.pop(0) if self._waiting else None

    async def end(self) -> int:
        """Its exit status, once it has ended by itself."""
        with anyio.fail_after(self._limits.silence):
            return await self._process.wait()

    def rest(self) -> bytes:
        """What it wrote behind the end of its last line."""
        return self._lines.end()

    async def listen(self) -> None:
        """Read what it logs, to its end: counts are kept, all else is nobody's, for taps log addresses and answers."""
        lines = Lines(_LOG_LINE)
        with suppress(anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
            while self._process.stderr is not None:
                for line in lines.feed(await self._process.stderr.receive(_CHUNK)):
                    self._count(line.content)
        self.listened.set()

    async def _read(self) -> None:
        try:
            self._waiting.extend(self._lines.feed(await self._process.stdout.receive(_CHUNK)))  # type: ignore[union-attr]
        except anyio.EndOfStream:
            self._over = True

    def _count(self, line: bytes) -> None:
        found = _METRIC.search(line)
        with suppress(msgspec.DecodeError, ValueError):
            metric = _decoder.decode(found[1]) if found else None
            if metric is not None and metric.metric == "record_count" and metric.value >= 0:
                self.counted[str(metric.tags.get("stream") or metric.tags.get("endpoint"))] += int(metric.value)


class _Metric(msgspec.Struct):
    metric: str
    value: float
    tags: dict[str, Any] = {}


_decoder: Final = msgspec.json.Decoder(_Metric)


@asynccontextmanager
async def running(
    command: Sequence[str], limits: Limits, *, folder: Path, environment: Mapping[str, str]
) -> AsyncIterator[Tap]:
    """The tap in a process group of its own, which is gone when this is left."""
    process = await anyio.open_process(
        [sys.executable, "-I", _LAUNCHER, str(limits.memory), *command],
        stdin=subprocess.DEVNULL,
        cwd=folder,
        env={"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": str(folder), "TMPDIR": str(folder), **environment},
        start_new_session=True,
    )
    tap = Tap(process, limits)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(tap.listen)
            yield tap
            with anyio.move_on_after(_GRACE):  # what it logged last; something that it left running may hold the pipe open
                await tap.listened.wait()
            group.cancel_scope.cancel()
    except BaseExceptionGroup as several:
        if len(several.exceptions) > 1:
            raise
        raise several.exceptions[0] from None
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)


def outcome(status: int) -> str | None:
    """What is wrong with an exit status, in a sentence without anything of the tap's own words; None: nothing."""
    if status == NOT_FOUND:
        return "the tap's program cannot be run; is command right, and the environment made?"
    if status < 0:
        return f"the tap was ended by signal {-status}"
    return f"the tap ended with status {status}" if status else None


async def _end(process: Process) -> None:
    """SIGTERM and after a while SIGKILL to the group, which is the tap's own: nobody else is in it."""
    _signal(process, signal.SIGTERM)
    with anyio.move_on_after(_GRACE):
        await process.wait()
    _signal(process, signal.SIGKILL)
    with anyio.move_on_after(_GRACE):
        await process.wait()
    await process.aclose()


def _signal(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def silent(limits: Limits) -> cdmd.SourceUnavailable:
    """What a tap is that says nothing."""
    return cdmd.SourceUnavailable(f"the tap wrote no whole line for {limits.silence:g} s and was ended")
