"""Up to where a journal reaches, as whoever writes it tells all who read: said with every commit, and again now and then.

What was said once stays true, so one that gets lost costs time and nothing else. Not here: the entries.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import msgspec

from cdmd.cluster.beside import Checkpoint
from cdmd.cluster.connection import Heard, Link
from cdmd.errors import NotDurable

AGAIN: Final = 1.0
"""Seconds between two times that it is said where nothing is written. Nobody's patience is measured by it: see ``lanes``."""
_DECODER: Final = msgspec.msgpack.Decoder(Checkpoint)


async def say(link: Link, name: str, reached: Checkpoint) -> None:
    """To all who read the journal of that name. Who does not hear it hears the next one."""
    with suppress(NotDurable):
        await link.say(_subject(name), msgspec.msgpack.encode(reached))


async def listen(link: Link, name: str, heard: Callable[[Checkpoint], None]) -> Callable[[], Awaitable[None]]:
    """Tell ``heard`` what is said of the journal of that name; returns what ends that."""

    async def told(said: Heard) -> None:
        with suppress(msgspec.DecodeError):  # what nobody of ours said
            heard(_DECODER.decode(said.data))

    return await link.listen(_subject(name), told)


def _subject(name: str) -> str:
    return f"{name}.head"
