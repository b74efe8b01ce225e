"""Extensions of every bad kind: each is asked for by the type of an event, ``bad.NAME``."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import cdmd


class Odd(BaseException):
    """None of the usual ones."""


FOUND: list[cdmd.Extension] = []


def bad(function: Any) -> Any:
    """An extension for events of its own type; whatever becomes of it, the event is stored."""
    name = function.__name__
    FOUND.append(cdmd.extension(on=f"bad.{name}", timeout=0.5, on_failure="store", name=name)(function))
    return function


@bad
async def raises(event, context):
    raise ValueError("joe@example.com")


@bad
async def exits(event, context):
    raise SystemExit("joe@example.com")


@bad
async def interrupts(event, context):
    raise KeyboardInterrupt("joe@example.com")


@bad
def interrupts_in_thread(event, context):
    raise KeyboardInterrupt("joe@example.com")


@bad
async def generator_exit(event, context):
    raise GeneratorExit("joe@example.com")


@bad
async def odd(event, context):
    raise Odd("joe@example.com")


@bad
async def cancels(event, context):
    raise asyncio.CancelledError("joe@example.com")


@bad
async def cancels_its_task(event, context):
    asyncio.current_task().cancel()
    await asyncio.sleep(0)


@bad
async def exits_beside(event, context):
    """In a task of its own, as whoever asks for several things at once has them."""
    await asyncio.gather(exits(event, context))


@bad
async def stops(event, context):
    raise StopIteration("joe@example.com")


@bad
async def hangs(event, context):
    await asyncio.Event().wait()


@bad
async def swallows(event, context):
    while True:
        with contextlib.suppress(BaseException):
            await asyncio.sleep(3600)


@bad
async def sleeps(event, context):
    time.sleep(0.8)


@bad
def sticks(event, context):
    threading.Event().wait()


@bad
async def junk(event, context):
    return "joe@example.com"


@bad
async def unstorable(event, context):
    return event.enriched(thing=object())


@bad
async def wide(event, context):
    return event.enriched(text="x" * 8 * 2**20)


@bad
async def deep(event, context):
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    return event.enriched(nested=nested)


@bad
async def another(event, context):
    return cdmd.Event(id="other", source="other", type=event.type, received=event.received)


@bad
async def recurses(event, context):
    return await recurses(event, context)


@bad
async def forks(event, context):
    if os.fork() == 0:
        os._exit(0)


@bad
async def forks_quietly(event, context):
    """Keeps what it did to itself."""
    with contextlib.suppress(Exception):
        os.fork()


@bad
async def opens(event, context):
    """Writes to our store."""
    with sqlite3.connect(Path(context.settings["state"]) / "store.db") as database:
        database.execute("DELETE FROM activities")


HELD: list[sqlite3.Connection] = []


@bad
async def locks(event, context):
    """Locks our journal and never lets go."""
    database = sqlite3.connect(str(Path(context.settings["state"]) / "journal.db"), isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    HELD.append(database)


@bad
async def opens_by_address(event, context):
    """The same by a URI, as those who only want to read do."""
    sqlite3.connect(f"file:{context.settings['state']}/store.db?mode=ro", uri=True)


@bad
def truncates(event, context):
    Path(context.settings["state"], "journal.db").open("r+b").truncate(0)


@bad
def removes(event, context):
    Path(context.settings["state"], "store.db").unlink()


@bad
async def signals(event, context):
    os.kill(os.getpid(), signal.SIGTERM)


@cdmd.hookimpl
def cdmd_extensions():
    return FOUND
