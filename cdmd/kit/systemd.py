"""Talks with systemd: notifications, the watchdog, sockets by name, credentials. Without systemd every answer is empty.

The environment is handed in. Protocols: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3), systemd.exec(5).
"""

import os
import socket
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

_FIRST_FD: Final = 3
_MOST_FDS: Final = 1024


class Systemd:
    """The service manager as seen from one process (``pid``)."""

    def __init__(self, environ: Mapping[str, str], *, pid: int) -> None:
        self._environ, self._pid = environ, pid

    # ---- notifications: each returns whether systemd was told -------------------------------------------------------

    def ready(self, status: str = "") -> bool:
        """The daemon serves (after the start, and after each reload)."""
        return self._notify(READY="1", **_status(status))

    def reloading(self, *, monotonic: float) -> bool:
        """A reload begins; ``monotonic`` in seconds of CLOCK_MONOTONIC. Ends with ``ready``."""
        return self._notify(RELOADING="1", MONOTONIC_USEC=str(int(monotonic * 1_000_000)))

    def stopping(self, status: str = "") -> bool:
        """The daemon drains and ends."""
        return self._notify(STOPPING="1", **_status(status))

    def status(self, text: str) -> bool:
        """One line for ``systemctl status``."""
        return self._notify(**_status(text))

    def watchdog(self) -> bool:
        """All is well; to be sent at least every ``watchdog_seconds``."""
        return self._notify(WATCHDOG="1")

    def extend_timeout(self, seconds: float) -> bool:
        """Starting or stopping takes up to that many seconds more."""
        return self._notify(EXTEND_TIMEOUT_USEC=str(int(seconds * 1_000_000)))

    # ---- what systemd gave us ---------------------------------------------------------------------------------------

    def watchdog_seconds(self) -> float | None:
        """How often (seconds) ``watchdog`` is due: half of what systemd allows. None without a watchdog for this process."""
        usec = _number(self._environ.get("WATCHDOG_USEC"))
        if not usec or self._environ.get("WATCHDOG_PID", str(self._pid)) != str(self._pid):
            return None
        return usec / 2_000_000

    @property
    def credentials(self) -> Path | None:
        """The directory of the unit's credentials."""
        text = self._environ.get("CREDENTIALS_DIRECTORY", "")
        return Path(text) if text.startswith("/") else None

    def sockets(self) -> dict[str, list[socket.socket]]:
        """The inherited sockets by their FileDescriptorName, several under one name where the unit says so.

        The caller owns and closes them; to be called once. What is no socket is left alone.
        """
        if self._environ.get("LISTEN_PID") != str(self._pid):
            return {}
        count = min(_number(self._environ.get("LISTEN_FDS")), _MOST_FDS)
        names = self._environ.get("LISTEN_FDNAMES", "").split(":")
        found: dict[str, list[socket.socket]] = {}
        for index in range(count):
            name = names[index] if index < len(names) and names[index] else "unknown"
            if (inherited := _adopted(_FIRST_FD + index)) is not None:
                found.setdefault(name, []).append(inherited)
        return found

    def _notify(self, **fields: str) -> bool:
        address = self._environ.get("NOTIFY_SOCKET", "")
        if not fields or not address.startswith(("/", "@")):
            return False
        message = "\n".join(f"{name}={value}" for name, value in fields.items()).encode("utf-8", "replace")
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)
            channel.sendto(message, "\0" + address[1:] if address.startswith("@") else address)
            return True
        return False


def _status(text: str) -> dict[str, str]:
    line = " ".join(text.split())
    return {"STATUS": line} if line else {}


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else 0  # noqa: PLR2004 - 64 bits


def _adopted(fd: int) -> socket.socket | None:
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            return None
        os.set_inheritable(fd, False)
        inherited = socket.socket(fileno=fd)
    except OSError:
        return None
    inherited.setblocking(False)
    return inherited
