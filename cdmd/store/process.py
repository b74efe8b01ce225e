"""A process that does what it is sent, and what it answers, in order. Not here: what is asked of it (``remote``)."""

import concurrent.futures
import pickle
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from cdmd.store.frames import receive, send
from cdmd.store.served import DONE, END, Failed

T = TypeVar("T")
_ENDS_WITHIN: Final = 30.0
"""Seconds that the process may take to end by itself: it finishes what it does."""

_START: Final = "import sys; sys.path[:] = sys.argv[2:]; from {0} import main; main(int(sys.argv[1]))"


class _Sent(NamedTuple):
    """What was sent and not answered; ``failed`` is told what a decision raised."""

    future: "concurrent.futures.Future[Any]"
    read: Callable[[bytes], Any]
    failed: Callable[[Exception], None]


class Child(Protocol):
    """A process that was started (``subprocess.Popen`` fulfils it)."""

    pid: int

    def wait(self, timeout: float | None = None) -> int:
        """How it ended. Raises ``subprocess.TimeoutExpired``."""
        ...

    def kill(self) -> None:
        """End it."""
        ...


class StoreProcess:
    """One process, from its start to its end. For the writer's thread; answers are taken on a thread of its own."""

    def __init__(self, link: socket.socket, child: Child) -> None:
        self._link, self._child, self._sent = link, child, deque[_Sent]()
        self._giving_up = threading.Lock()
        self.gone = False
        self.seconds = 0.0
        """Of the processor's time, as it last said."""
        self.rules: object = None
        """What it was told last that decisions go by."""
        threading.Thread(target=self._listen, name="cdmd-store-answers", daemon=True).start()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._child.pid

    def ask(self, kind: bytes, content: bytes = b"") -> Any:
        """Send that and wait for the answer. Raises what it came to there, and sqlite3.OperationalError where it is gone."""
        return self.send(kind, content, read=pickle.loads).result()

    def send(
        self,
        kind: bytes,
        content: bytes,
        *,
        read: Callable[[bytes], T],
        failed: Callable[[Exception], None] = lambda error: None,
    ) -> "concurrent.futures.Future[T]":
        """The same without waiting. ``read`` makes the outcome of the answer, ``failed`` is told what a decision raised."""
        future = concurrent.futures.Future[T]()
        self._sent.append(_Sent(future, read, failed))
        self.tell(kind, content)
        if self.gone:
            self._give_up()
        return future

    def tell(self, kind: bytes, content: bytes = b"") -> None:
        """Send what needs no answer. That it is gone is noticed where answers are waited for."""
        with suppress(OSError):
            send(self._link, kind, content)

    def end(self) -> None:
        """Let it end, and wait for that."""
        self.tell(END)
        try:
            self._child.wait(_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._link.close()

    def _listen(self) -> None:
        try:
            while (answer := receive(self._link)) is not None:
                _came(self._sent.popleft(), *answer)
        except BaseException:
            self._child.kill()  # nobody hears it any more
            raise
        finally:
            self.gone = True
            self._give_up()

    def _give_up(self) -> None:
        """Nothing that was sent is answered any more."""
        with self._giving_up:
            while self._sent:
                how = ended(self._child.wait())
                self._sent.popleft().future.set_exception(sqlite3.OperationalError(f"the store's own process {how}"))


def started(module: str, keep: Sequence[int]) -> StoreProcess:
    """A new one that runs the ``main`` of ``module`` and keeps these descriptors open. Raises OSError."""
    return StoreProcess(*launched(module, keep))


def launched(module: str, keep: Sequence[int]) -> tuple[socket.socket, Child]:
    """The same as our end of its socket, and the process."""
    link, there = socket.socketpair()
    with ExitStack() as unless_started, there:
        unless_started.callback(link.close)
        command = [sys.executable, "-c", _START.format(module), str(there.fileno()), *sys.path]
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[there.fileno(), *keep])  # noqa: S603 - our own module
        unless_started.pop_all()
    return link, child


def _came(sent: _Sent, kind: bytes, content: bytes) -> None:
    try:
        if kind == DONE:
            sent.future.set_result(sent.read(content))
            return
        failed: Failed = pickle.loads(content)  # noqa: S301 - of the process that we started
        if failed.deciding:
            sent.failed(failed.error)
        sent.future.set_exception(failed.error)
    except Exception as error:  # noqa: BLE001 - whoever waits is told, and the next answer is read all the same
        sent.future.set_exception(error)


def ended(code: int) -> str:
    """How, for a sentence."""
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
