"""Runs foreign code so that nothing it does reaches its caller: not SystemExit, not a refusal to be cancelled.

A task group cannot leave a task behind, and asyncio lets SystemExit tear the loop down. So foreign code gets a task of its
own, outside any group, whose result is a value; its owner ends it with a deadline. Not for our own tasks.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

Ended: TypeAlias = BaseException | None
"""How foreign code ended: None when it returned, else what it raised (also CancelledError)."""


def detach(call: Callable[[], Awaitable[object]], *, name: str) -> "asyncio.Task[Ended]":
    """Start ``call`` in a task of its own. The caller keeps the task and ends it with ``end``; awaiting it never raises."""
    return asyncio.get_running_loop().create_task(_contained(call), name=name)


async def end(task: "asyncio.Task[Ended]", *, seconds: float) -> bool:
    """Cancel the task and wait; near the end of ``seconds`` once more. False: it goes on all the same and is abandoned."""
    for share in (0.8, 0.2):  # the second call is for code that swallowed the first by mistake, not for slow cleaning up
        if task.done():
            return True
        task.cancel()
        await asyncio.wait({task}, timeout=seconds * share)
    return task.done()


async def within(call: Callable[[], Awaitable[object]], *, seconds: float, name: str) -> Ended:
    """Run ``call`` and return how it ended; TimeoutError when it took longer, whether or not it heeds cancellation."""
    task = detach(call, name=name)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if task.done():
            return task.result()
        return TimeoutError("did not end in time")
    finally:
        task.cancel()


async def _contained(call: Callable[[], Awaitable[object]]) -> Ended:
    try:
        await call()
    except GeneratorExit:
        raise
    except BaseException as error:  # noqa: BLE001 - this is the containment: whatever foreign code raises becomes a value
        return error
    return None
