"""Keeps plugins from what no plugin may do within the daemon: to fork it, to signal it, to open or remove its files.

It is an audit hook of the interpreter (PEP 578): it sees what Python code does by mistake or without care, and names who did.
It is no prison, because native code passes it by.
"""

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any, Final, Protocol
from urllib.parse import unquote, urlsplit

from cdmd.errors import Forbidden
from cdmd.kit.frames import place

_FORKS: Final = frozenset(("os.fork", "os.forkpty"))
_FILES: Final = frozenset(("open", "sqlite3.connect", "os.remove", "os.rename", "os.truncate", "os.link", "os.symlink"))
_SIGNALS: Final = {"os.kill": 1, "os.killpg": -1}
"""Whom they name: a process, and a group of them, which ``os.kill`` writes as its negative."""

_WATCHED: Final = _FORKS | _FILES | frozenset(_SIGNALS)
_BESIDE: Final = ("", "-wal", "-shm", "-journal")
_MOST_PATHS: Final = 2
_FOLDERS: Final = {"os.remove": (1,), "os.rename": (2, 3), "os.link": (2, 3), "os.symlink": (None, 2)}
_NONE: Final = (None, None)
"""Where the arguments of an event have the folder (a descriptor) that each of its paths is relative to."""


class Owners(Protocol):
    """What the guard asks of the plugins (``registry.Plugins``)."""

    def owner(self, module: str) -> str | None:
        """The plugin that a module belongs to."""
        ...


class Guard:
    """The hook: ``sys.addaudithook(guard)``. Before ``watch`` it only keeps the process from being forked."""

    def __init__(self) -> None:
        self._owners: Owners | None = None
        self._names: frozenset[str] = frozenset()
        self._files: frozenset[str] = frozenset()
        self._notice: Callable[[str, str], None] = lambda plugin, text: None
        self._watched, self._ending = _WATCHED, sys.is_finalizing  # this module's names go before the hook does

    def watch(self, owners: Owners, files: Iterable[Path], notice: Callable[[str, str], None]) -> None:
        """From now on nobody but us touches ``files``; ``notice`` is told the plugin that tried, in the thread that did."""
        whole = [os.path.realpath(f"{file}{suffix}") for file in files for suffix in _BESIDE]
        self._names, self._files = frozenset(one.rpartition("/")[2] for one in whole), frozenset(whole)
        self._notice, self._owners = notice, owners

    def leave(self) -> None:
        """Nothing is watched any more: the hook stays in the interpreter, the files are anybody's."""
        self._names, self._files, self._owners = frozenset(), frozenset(), None

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Raises ``Forbidden``, which takes the place of what would have been done."""
        if event not in self._watched or self._ending():
            return
        if event in _FORKS:
            self._refuse("tried to fork the daemon: start another program instead", always=True)
        elif event in _SIGNALS:
            if arguments[0] * _SIGNALS[event] in {os.getpid(), 0, -1, -os.getpgrp()}:
                self._refuse("tried to send a signal to the daemon")
        elif (name := self._ours(event, arguments)) is not None:
            self._refuse(f"tried to open or remove {name}, which belongs to the daemon alone")

    def _ours(self, event: str, arguments: tuple[Any, ...]) -> str | None:
        folders = [arguments[one] if one is not None and one < len(arguments) else None for one in _FOLDERS.get(event, _NONE)]
        for argument, folder in zip(arguments[:_MOST_PATHS], folders, strict=False):
            path = _path(argument)
            name = path.rpartition("/")[2]
            if name not in self._names:
                continue
            if event == "open" and arguments[1:2] == (None,) and not path.startswith("/"):
                return name  # os.open does not tell relative to which folder: nobody needs to name ours so
            if os.path.realpath(_beneath(folder, path)) in self._files:
                return name
        return None

    def _refuse(self, what: str, *, always: bool = False) -> None:
        frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - the documented way to see who calls
        while frame is not None:
            module = str(frame.f_globals.get("__name__", ""))
            plugin = self._owners.owner(module) if self._owners is not None else None
            if plugin is not None:
                self._notice(plugin, f"{what}, at {place(module, frame.f_code.co_filename)}:{frame.f_lineno}")
                raise Forbidden(what)
            if module.startswith("cdmd.") and not always:
                return  # we are asked to by the one who called us, whoever that is
            frame = frame.f_back
        if always:
            raise Forbidden(what)


_BELOW: Final = _FILES | {"os.listdir", "os.scandir", "os.mkdir", "os.rmdir", "os.chmod", "os.chown", "os.utime", "os.mkfifo"}
_EVERYBODY: Final = -1


class Fence:
    """The same hook for an isolated plugin's process (``cdmd.isolation``): it keeps that from files and folders.

    ``private`` are those, with all that is in them; ``package`` is the plugin's, whose line is named to
    ``notice``; ``daemon`` the process that is not to be signalled.
    """

    def __init__(self, private: Iterable[Path], *, package: str, daemon: int, notice: Callable[[str], None]) -> None:
        self._private = tuple(os.path.realpath(one) for one in private)
        self._package, self._daemon, self._notice = package.partition(".")[0], daemon, notice
        self._ending = sys.is_finalizing  # as above

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Raises ``Forbidden``, which takes the place of what would have been done."""
        if self._ending():
            return
        if event in _FORKS:
            self._refuse("tried to fork its process: start another program instead")
        elif event in _SIGNALS:
            if arguments[0] * _SIGNALS[event] in {self._daemon, -self._daemon, _EVERYBODY}:
                self._refuse("tried to send a signal to the daemon")
        elif event == "socket.connect":
            if isinstance(arguments[1], str | bytes):
                self._refuse("tried to connect to a local socket")
        elif event in _BELOW:
            for argument in arguments[:_MOST_PATHS]:
                if (path := _path(argument)) and self._holds(os.path.realpath(path)):
                    self._refuse(f"tried to reach {path.rpartition('/')[2]}, which belongs to the daemon alone")

    def _holds(self, path: str) -> bool:
        return any(path == one or path.startswith(f"{one}/") for one in self._private)

    def _refuse(self, what: str) -> None:
        frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - as above
        while frame is not None:
            module = str(frame.f_globals.get("__name__", ""))
            if module.partition(".")[0] == self._package:
                self._notice(f"{what}, at {place(module, frame.f_code.co_filename)}:{frame.f_lineno}")
                break
            frame = frame.f_back
        raise Forbidden(what)


def _beneath(folder: object, path: str) -> str:
    """The path, relative to an open folder where one is given (-1 stands for none)."""
    return f"/proc/self/fd/{folder}/{path}" if isinstance(folder, int) and folder >= 0 and not path.startswith("/") else path


def _path(argument: object) -> str:
    """The path in one of an event's arguments, or nothing."""
    if isinstance(argument, os.PathLike):
        argument = os.fspath(argument)
    if isinstance(argument, bytes):
        argument = os.fsdecode(argument)
    if not isinstance(argument, str):
        return ""
    return unquote(urlsplit(argument).path) if argument.startswith("file:") else argument
