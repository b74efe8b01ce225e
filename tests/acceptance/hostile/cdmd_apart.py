"""Extensions that only a process of their own survives; each is asked for by the type of an event, ``apart.NAME``."""

import ctypes
import os
import signal
import sqlite3
import subprocess
from pathlib import Path

import structlog

import cdmd

FOUND = []
KEPT = []


def apart(function=None, **declared):
    """An extension for events of its own type; whatever becomes of it, the event is stored."""
    if function is None:
        return lambda found: apart(found, **declared)
    name = function.__name__
    declared = {"timeout": 5.0, "on_failure": "store", **declared}
    FOUND.append(cdmd.extension(on=f"apart.{name}", name=name, **declared)(function))
    return function


@apart
async def works(event, context):
    reply = await context.http.get(f"{context.settings['url']}/tier")
    structlog.get_logger().info("tier_asked", status=reply.status_code, email="joe@example.com")
    return event.enriched(tier=reply.json()["tier"], secret=context.settings["token"] == "hush", pid=os.getpid())


@apart
def plain(event, context):
    return event.enriched(pid=os.getpid(), seen=sorted(os.environ))


@apart
async def elsewhere(event, context):
    await context.http.get("http://127.0.0.2:9/")


@apart
async def drops(event, context):
    raise cdmd.Drop("not wanted")


@apart
async def rejects(event, context):
    raise cdmd.Reject("odd")


@apart
async def waits(event, context):
    if event.data["again"] in KEPT:
        return
    KEPT.append(event.data["again"])
    raise cdmd.RetryLater(0.2)


@apart
async def dies(event, context):
    os.kill(os.getpid(), signal.SIGSEGV)


@apart
async def leaves(event, context):
    os._exit(0)


@apart(timeout=0.3)
async def spins(event, context):
    while True:
        pass


@apart(timeout=0.3)
def stays(event, context):
    while True:
        pass


@apart
async def leaks(event, context):
    KEPT.extend(bytes(b"x" * 2**20) for _ in range(64))
    return event.enriched(leaked=len(KEPT))


@apart
async def grabs(event, context):
    """More than it may have, at once."""
    KEPT.append(b"x" * 2**30)


@apart
async def babbles(event, context):
    os.write(3, b"joe@example.com, and what else comes to mind")


@apart
async def answers_others(event, context):
    """A message in the right form, about a call that nobody made."""
    os.write(3, b"\x00\x00\x00\x1e\x96\xa6Answer\x7b\xa9unchanged\xc0\xa0\xcb" + bytes(8))


@apart(timeout=20.0)
async def floods(event, context):
    """Tells us something in the right form, a hundred thousand times."""
    for _ in range(1_000):
        os.write(3, b"\x00\x00\x00\x0c\x93\xa7Noticed\xc0\xa1x" * 100)


@apart
async def reads(event, context):
    """Our store, by Python, by another program and by native code."""
    store = f"{context.settings['state']}/store.db"
    found = {}
    for name, read in {
        "python": lambda: Path(store).read_bytes(),
        "sqlite": lambda: sqlite3.connect(store).execute("SELECT 1").fetchall(),
        "program": lambda: subprocess.run(["cat", store], check=True, capture_output=True).stdout,
        "native": lambda: 1 / (ctypes.CDLL(None).open(store.encode(), 0) + 1),
        "memory": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
        "signal": lambda: 1 / (ctypes.CDLL(None).kill(os.getppid(), 0) + 1),
    }.items():
        try:
            read()
            found[name] = "read"
        except Exception as error:  # noqa: BLE001
            found[name] = type(error).__name__
    return event.enriched(**found)


@apart
async def connects(event, context):
    """The control socket, where the daemon's user may do everything."""
    code = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    done = subprocess.run(["python3", "-c", code, context.settings["control"]], capture_output=True, timeout=4)
    return event.enriched(refused=done.returncode != 0 and b"Address family not supported" in done.stderr)


@cdmd.hookimpl
def cdmd_extensions():
    return FOUND
