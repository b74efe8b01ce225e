"""An event loop that nobody ends but who runs it: what a task or a callback raises to end the process ends that task alone.

asyncio lets SystemExit and KeyboardInterrupt through, whichever task raised them, and the loop stops with all that others do in
it. Not for: signals, which are the process's own to take.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar, cast

import uvloop
from typing_extensions import override

_T = TypeVar("_T")


class SteadfastLoop(uvloop.Loop):
    """``told`` hears of what would have ended it. It ends with what it was run for, whatever that raises.

    What is left is waited for after that: then a Ctrl-C, which nobody takes any more, ends it.
    """

    def __init__(self, told: Callable[[BaseException], None]) -> None:
        super().__init__()
        self._told = told
        self._whole: asyncio.Future[Any] | None = None
        self._closing = False

    @override
    def run_until_complete(self, future: Generator[Any, None, _T] | Awaitable[_T]) -> _T:
        whole = future if asyncio.isfuture(future) else self.create_task(cast("Coroutine[Any, Any, _T]", future))
        self._whole = whole
        try:
            return super().run_until_complete(whole)
        finally:
            self._whole, self._closing = None, True

    @override
    def run_forever(self) -> None:
        while True:
            try:
                super().run_forever()
            except (SystemExit, KeyboardInterrupt) as error:
                interrupted = self._closing and isinstance(error, KeyboardInterrupt)
                if interrupted or self._whole is None or self._whole.done():
                    raise
                self._told(error)
            else:
                return


def steadfast(told: Callable[[BaseException], None]) -> dict[str, Any]:
    """For ``anyio.run(..., backend_options=steadfast(...))``."""
    return {"loop_factory": lambda: SteadfastLoop(told)}
