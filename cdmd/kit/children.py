"""A child process of our own: a fresh interpreter over a pair of connected sockets, that never outlives who started it.

It inherits nothing but its end of the pair and the environment it is given: no file of ours, no memory, no credential of the
environment. What is said over the pair, what the child may use and when it is started again is its owner's.
Not for other people's programs: those are run by ``anyio.open_process``.
"""

import asyncio
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, Self

_OURS: Final = 3
"""The descriptor of the child's end of the pair, as with systemd's first socket."""

_PR_SET_PDEATHSIG: Final = 1
_PASSED_ON: Final = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "PYTHONDONTWRITEBYTECODE")


def plain_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a child that is to learn nothing needs of our environment: no secret, no socket of the service manager is in it."""
    return {name: text for name, text in environment.items() if name in _PASSED_ON or name.startswith("LC_")}


class Child:
    """A child that runs, made by ``spawn``; ``socket`` is our end of the pair, blocking as it is made. Its owner closes it."""

    def __init__(self, pid: int, ours: socket.socket) -> None:
        self.pid, self.socket = pid, ours
        self._handle = os.pidfd_open(pid)
        self._status: int | None = None
        self._reaped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    async def ended(self) -> int:
        """Wait until it has ended; its exit status, or the signal's number below 0."""
        loop = asyncio.get_running_loop()
        while (status := self.status()) is None:
            over = asyncio.Event()
            loop.add_reader(self._handle, over.set)
            try:
                await over.wait()
            finally:
                loop.remove_reader(self._handle)
        return status

    def status(self) -> int | None:
        """How it ended (see ``ended``), or None while it runs."""
        if self._status is None:  # only looked at: until it is reaped its number is nobody else's, nor is its group's
            self._look(os.WNOHANG)
        return self._status

    def kill(self) -> None:
        """End it at once, and whatever it started in its process group, which may outlive it."""
        if not self._reaped:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def end(self) -> int:
        """Kill it where it still runs and close what is ours of it; its exit status. It may block for a moment."""
        self.kill()
        self._look(0)  # killed by a signal that nobody can keep back: within a moment
        self.close()
        assert self._status is not None  # noqa: S101 - it was waited for
        return self._status

    def close(self) -> None:
        """Close what is ours of one that has ended."""
        if not self._reaped and self._status is not None:
            os.waitpid(self.pid, 0)
            self._reaped = True
        self.socket.close()
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _look(self, how: int) -> None:
        if self._status is None and (found := os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | how)):
            self._status = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def spawn(module: str, arguments: Sequence[str] = (), *, environment: Mapping[str, str], quiet: bool = True) -> Child:
    """Run ``python -m module arguments`` in a process and session of its own; it begins with ``parent()``.

    It finds modules where this process finds them. With ``quiet`` what it prints goes nowhere. To be called in a thread that
    lives as long as the child may: the kernel ends the child with it. Takes a millisecond or two. Raises OSError.
    """
    ours, theirs = socket.socketpair()
    path = os.pathsep.join(place for place in sys.path if place)
    with theirs:
        actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
        actions += [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2) if quiet]
        # From above 3 to 3: a descriptor that is copied to itself would stay closed on exec.
        moved = os.dup(theirs.fileno()) if theirs.fileno() == _OURS else theirs.fileno()
        try:
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-P", "-m", module, str(os.getpid()), *arguments],
                {**environment, "PYTHONPATH": path},
                file_actions=[*actions, (os.POSIX_SPAWN_DUP2, moved, _OURS)],
                setsid=True,
                setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE],
            )
        except BaseException:
            ours.close()
            raise
        finally:
            if moved != theirs.fileno():
                os.close(moved)
    try:
        return Child(pid, ours)
    except BaseException:  # no descriptor is left for it
        ours.close()
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def parent() -> tuple[socket.socket, list[str]]:
    """In the child, before anything else: our end of the pair, and the arguments. From here on it ends with its parent.

    Every other descriptor that came along is closed. Ends the process where the parent is gone already.
    """
    os.closerange(_OURS + 1, os.sysconf("SC_OPEN_MAX"))
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        os._exit(0)
    return socket.socket(fileno=_OURS), sys.argv[2:]
