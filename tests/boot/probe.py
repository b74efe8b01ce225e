"""Tries what the service must not be able to do, from within a unit with the service's own hardening.

Prints a JSON object: each attempt and how it ended, ``done`` or the name of the error. Run by Debian's own python3.
"""

import ctypes
import json
import mmap
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

_NEW_USER_NAMESPACE, _NEW_MOUNTS = 0x10000000, 0x00020000


def outcome(attempt: Callable[[], object]) -> str:
    """How it ended."""
    try:
        attempt()
    except OSError as error:
        return os.strerror(error.errno or 0)
    except ValueError as error:
        return str(error)
    return "done"


def unshare(flags: int) -> None:
    """A namespace of its own."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(flags):
        raise OSError(ctypes.get_errno(), "unshare")


def attempts(state: Path) -> dict[str, Callable[[], object]]:
    """By what they are."""
    return {
        "write into /etc": lambda: Path("/etc/cdmd-probe").write_text("x"),
        "write into /usr": lambda: Path("/usr/cdmd-probe").write_text("x"),
        "read a home": lambda: list(Path("/root").iterdir()),
        "read the kernel log": lambda: os.open("/dev/kmsg", os.O_RDONLY),
        "open a disk": lambda: os.mknod("/tmp/disk", 0o600 | 0o060000, os.makedev(8, 0)),
        "set the clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time() + 1),  # noqa: TID251
        "rename the host": lambda: socket.sethostname("other"),
        "write a kernel setting": lambda: Path("/proc/sys/kernel/panic").write_text("1"),
        "memory that is written and run": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC),
        "a raw packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
        "a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "a namespace of users": lambda: unshare(_NEW_USER_NAMESPACE),
        "a namespace of mounts": lambda: unshare(_NEW_MOUNTS),
        "become root": lambda: os.setuid(0),
        "real time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
        "a set-uid file": lambda: (state / "probe").write_text("x") and (state / "probe").chmod(0o4755),
        "write into the state directory": lambda: (state / "probe").write_text("x"),
        "connect by TCP": lambda: socket.create_connection(("127.0.0.1", 8787), 5).close(),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps({name: outcome(attempt) for name, attempt in attempts(Path(sys.argv[1])).items()}) + "\n")
