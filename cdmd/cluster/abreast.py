"""Several requests at once, as many as the server answers well beside each other."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import anyio

from cdmd.errors import CdmdError

_MOST: Final = 16


async def abreast(works: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Do all of them; after a failure begin no other. Raises the first ``CdmdError``."""
    todo, failed = iter(works), list[CdmdError]()

    async def some() -> None:
        try:
            for work in todo:
                await work()
                if failed:
                    return
        except CdmdError as error:
            failed.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(_MOST):
            tasks.start_soon(some)
    if failed:
        raise failed[0]
