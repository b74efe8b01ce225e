"""The daemon's end of one process that runs extensions: calls out, answers in, and nothing of what comes is trusted.

What is no message, answers what was not asked, or is more than anybody may say is a fault, and so is a call that has not ended
long after its deadline; a fault is the end of the process (``keeping``). Not here: starting it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol, cast

import msgspec
from typing_extensions import override

from cdmd.contracts import Extension
from cdmd.errors import Drop, Reject, RetryLater
from cdmd.extensions.performing import Failure, Limits, NotCalled
from cdmd.isolation.messages import (
    LARGEST,
    Answer,
    Begin,
    Call,
    End,
    Frames,
    Junk,
    Line,
    Noticed,
    Ready,
    decode_from_child,
    framed,
)
from cdmd.kit.logs import escaped
from cdmd.kit.measures import size
from cdmd.models import Event

OVERDUE: Final = 2.0
"""Seconds after its deadline, as the process counts it, that a call may take to end."""

AGAIN: Final = 1.0
_LINES: Final = 100
_FLOOD: Final = 5_000
"""Of what it says by itself, within a second: more than the first is left out, more than the second is its end."""


class Ended(Exception):
    """The process is over; ``innocent`` for whoever waits for it where another call is known to be the reason."""

    def __init__(self, reason: str, *, innocent: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.innocent = reason, innocent


class Hears(Protocol):
    """Who is told what a process says by itself."""

    def line(self, said: Line) -> None:
        """A line for the log."""
        ...

    def noticed(self, said: Noticed) -> None:
        """It was seen doing what it should not."""
        ...


class Process(asyncio.Protocol):
    """One process; ``ready`` is its first word, ``fault`` why it has to end. ``extensions`` are those it has to have.

    Of calls of a plain function no more are out than it has threads for: one that waits for a thread would be taken for one
    that hangs.
    """

    def __init__(self, begin: Begin, extensions: Sequence[Extension], hears: Hears) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self._begin, self._hears = begin, hears
        self._extensions = tuple(one.name for one in extensions)
        self._timeouts = [one.timeout for one in extensions]
        self._threads: dict[int, asyncio.Semaphore] = {}
        self._taken: dict[int, asyncio.Semaphore] = {}
        self._frames = Frames(begin.event_bytes)
        self._calls: dict[int, asyncio.Future[Answer]] = {}
        self._overdue: dict[int, asyncio.TimerHandle] = {}
        self._number = 0
        self._out: list[bytes] = []
        self._room = asyncio.Event()
        self._room.set()
        self._second, self._said = 0.0, 0
        self._ended: Ended | None = None
        self._left_out = 0
        self.ready: asyncio.Future[Ready] = loop.create_future()
        self.fault: asyncio.Future[Ended] = loop.create_future()

    async def call(self, extension: int, event: Event, headers: Mapping[str, str]) -> Event | None:
        """What the extension makes of the event; raises what it asked for, or ``Failure``."""
        await self._room.wait()
        threads = self._threads.get(extension)
        if threads is not None:
            await threads.acquire()
        if self._ended is not None:
            if threads is not None:
                threads.release()  # for the next who waits, to be told the same
            raise NotCalled(AGAIN, self._ended.reason)
        self._number += 1
        number, answer = self._number, self._loop.create_future()
        call = framed(Call(number, extension, event, dict(headers)))
        if len(call) > LARGEST:
            if threads is not None:
                threads.release()
            raise Failure(f"the event is larger than the {size(LARGEST)} that an isolated plugin is told at once")
        self._calls[number] = answer
        if threads is not None:
            self._taken[number] = threads
        late = self._loop.time() + self._timeouts[extension] + OVERDUE
        self._send(call)
        try:
            return _result(await answer)
        except Ended as over:
            raise _told(over) from over
        except asyncio.CancelledError:  # its deadline has passed, or nobody wants to know any more
            if self._calls.pop(number, None) is not None:
                self._overdue[number] = self._loop.call_at(late, self._hang, extension)
            raise

    def end(self) -> None:
        """Tell it that no call will come."""
        if self._ended is None:
            self._send(framed(End()))

    def close(self, over: Ended) -> None:
        """It is over: whoever waits for an answer is told."""
        self._ended = over
        self._room.set()
        for timer in self._overdue.values():
            timer.cancel()
        for threads in self._threads.values():
            threads.release()
        waiting, self._calls, self._overdue, self._taken = list(self._calls.values()), {}, {}, {}
        for answer in waiting:
            if not answer.done():
                answer.set_exception(over)
        for one in (self.ready, self.fault):
            one.cancel()
        self._transport.abort()

    # ---- what asyncio calls ------------------------------------------------------------------------------------------

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send(framed(self._begin))

    @override
    def data_received(self, data: bytes) -> None:
        if self.fault.done() or self._ended is not None:
            return
        try:
            for one in self._frames.take(data):
                self._heard(decode_from_child(one))
        except (Junk, msgspec.MsgspecError, RecursionError):
            self._blame("it answered junk")

    @override
    def pause_writing(self) -> None:
        self._room.clear()

    @override
    def resume_writing(self) -> None:
        self._room.set()

    # ---- what it says ------------------------------------------------------------------------------------------------

    def _heard(self, message: object) -> None:
        match message:
            case Answer():
                self._answered(message)
            case Ready() if not self.ready.done() and message.extensions == self._extensions:
                self._threads = {one: asyncio.Semaphore(Limits().threads) for one in message.plain}
                self.ready.set_result(message)
            case Ready():
                self._blame("it does not bring any more what it brought when it was loaded: restart cdmd")
            case Line() if self._may_say():
                self._hears.line(message)
            case Noticed() if self._may_say():
                self._hears.noticed(message)
            case Line() | Noticed():
                self._left_out += 1
            case _:
                raise Junk("not its turn")

    def _answered(self, message: Answer) -> None:
        if (threads := self._taken.pop(message.number, None)) is not None:
            threads.release()
        if (timer := self._overdue.pop(message.number, None)) is not None:
            timer.cancel()
            return
        answer = self._calls.pop(message.number, None)
        if answer is None:
            raise Junk("an answer to no question")
        if not answer.done():
            answer.set_result(message)

    def _may_say(self) -> bool:
        now = self._loop.time()
        if now - self._second >= 1.0:
            self._second, self._said, left_out, self._left_out = now, 0, self._left_out, 0
            if left_out:
                self._hears.line(Line("warning", {"event": "isolated_lines_left_out", "lines": left_out}))
        self._said += 1
        if self._said > _FLOOD:
            self._blame("it floods the log")
        return self._said <= _LINES

    def _hang(self, extension: int) -> None:
        self._blame(f"{self._extensions[extension]} did not end {OVERDUE:g} s after its deadline", innocent=True)

    def _blame(self, why: str, *, innocent: bool = False) -> None:
        if not self.fault.done():
            self.fault.set_result(Ended(f"its process was ended: {why}", innocent=innocent))

    # ---- what it is told ---------------------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        if not self._out:  # what is said in the same turn of the loop goes together
            self._loop.call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if not self._transport.is_closing():
            self._transport.write(b"".join(out))


def _told(over: Ended) -> Exception:
    return NotCalled(AGAIN, over.reason) if over.innocent else Failure(over.reason)


def _result(answer: Answer) -> Event | None:
    reason = escaped(answer.reason)
    match answer.outcome:
        case "event" | "unchanged":
            return answer.event
        case "drop":
            raise Drop(reason)
        case "reject":
            raise Reject(reason)
        case "later":
            raise RetryLater(answer.seconds, reason)
        case "failed":
            raise Failure(reason, logged=None if answer.logged is None else escaped(answer.logged))
