"""Daemon threads for plain functions: bounded, and one that never returns blocks nobody's shutdown.

``anyio.to_thread`` gives an abandoned call's place away while its thread still runs, and its threads are joined at exit;
both would let a function that hangs take the whole daemon with it. Here a place is free only when its thread is.
"""

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeAlias

_Task: TypeAlias = Callable[[], None]


class Threads:
    """At most ``limit`` threads named after ``name``; each is started when first needed and ends with the process."""

    def __init__(self, name: str, limit: int) -> None:
        self._name, self._limit = name, limit
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._places = asyncio.Semaphore(limit)
        self._threads = 0
        self._idle = 0

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The function's result or exception.

        A cancellation leaves the thread to itself; its place stays taken until it ends.
        """
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        context = contextvars.copy_context()

        def settle(result: Any, error: BaseException | None) -> None:
            self._idle += 1
            self._places.release()
            if answer.cancelled():
                return
            answer.set_result((result, error))

        def work() -> None:
            result, error = None, None
            try:
                result = context.run(function, *arguments)
            except BaseException as raised:  # noqa: BLE001 - handed to the caller, whatever it is
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop ended before the function did
                loop.call_soon_threadsafe(settle, result, error)

        try:
            self._hand_over(work)
        except RuntimeError:  # the system gives no thread now: the place is free for the next who asks
            self._places.release()
            raise
        result, error = await answer
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """Let idle threads end; those that hang end with the process."""
        for _ in range(self._threads):
            self._tasks.put(None)
        self._threads = self._idle = 0

    def _hand_over(self, work: _Task) -> None:
        if self._idle:
            self._idle -= 1
        else:
            threading.Thread(target=self._serve, args=(self._tasks,), name=f"extension {self._name}", daemon=True).start()
            self._threads += 1
        self._tasks.put(work)

    @staticmethod
    def _serve(tasks: "SimpleQueue[_Task | None]") -> None:
        while (task := tasks.get()) is not None:
            task()
