"""Pieces asked for side by side: in order whatever the order of the answers, never more than wanted, and as far as they go."""

from collections.abc import Awaitable
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from cdmd.connectors.files.ahead import Ahead
from cdmd.connectors.files.area import FileFault
from cdmd.errors import SourceUnavailable

pytestmark = pytest.mark.anyio
CONTENT = bytes(Random(1).randbytes(1_000))


class Server:
    """Answers in any order; ``fewest`` bytes at least of what was asked for, and a fault at one place."""

    def __init__(self, content: bytes = CONTENT, *, fewest: int = 10, fails_at: int = -1) -> None:
        self._content, self._fewest, self._fails_at, self._chance = content, fewest, fails_at, Random(2)
        self.asked: list[tuple[int, int]] = []
        self.now = self.most = 0

    async def read(self, at: int, size: int) -> bytes:
        self.asked.append((at, size))
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(self._chance.randrange(8)):
            await anyio.lowlevel.checkpoint()
        self.now -= 1
        if at == self._fails_at:
            raise FileFault("permission denied")
        return self._content[at : at + self._chance.randint(min(self._fewest, size), size)]


async def patient(answer: Awaitable[Any]) -> Any:
    return await answer


async def keep_nothing(chunk: bytes) -> None:
    raise AssertionError


async def copied(server: Server, start: int = 0, end: int = 1_000, *, most: int = 4) -> bytes:
    found: list[bytes] = []

    async def keep(chunk: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        found.append(chunk)

    with anyio.fail_after(30):
        await Ahead(server.read, piece=10, most=most, patience=patient).copy(start, end, keep)
    return b"".join(found)


@pytest.mark.parametrize("most", [1, 3, 4])
@pytest.mark.parametrize(("start", "end"), [(0, 1_000), (0, 7), (3, 997), (500, 500), (10, 20)])
async def test_the_pieces_come_in_order_whatever_the_order_of_the_answers(most: int, start: int, end: int) -> None:
    server = Server()
    assert await copied(server, start, end, most=most) == CONTENT[start:end]
    assert server.most <= most
    assert server.most == min(most, -(-(end - start) // 10))


async def test_what_came_short_is_asked_for_again() -> None:
    assert await copied(Server(fewest=1)) == CONTENT


async def test_a_file_that_ends_before_is_handed_on_as_far_as_it_goes() -> None:
    assert await copied(Server(CONTENT[:333])) == CONTENT[:333]


async def test_no_more_than_the_places_are_held_while_the_sink_takes_its_time() -> None:
    server, handed = Server(), anyio.Event()

    async def never(chunk: bytes) -> None:
        handed.set()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        group.start_soon(Ahead(server.read, piece=10, most=4, patience=patient).copy, 0, 1_000, never)
        with anyio.fail_after(30):
            await handed.wait()
            await anyio.wait_all_tasks_blocked()
        assert len(server.asked) == 5  # the one that was handed on, and four before the next
        group.cancel_scope.cancel()


async def test_a_fault_is_raised_when_its_piece_is_due_and_the_ones_before_are_handed_on() -> None:
    found: list[bytes] = []

    async def keep(chunk: bytes) -> None:
        found.append(chunk)

    with pytest.raises(FileFault), anyio.fail_after(30):
        await Ahead(Server(fails_at=500).read, piece=10, most=8, patience=patient).copy(0, 1_000, keep)
    assert b"".join(found) == CONTENT[:500]


async def test_a_silence_ends_it_although_pieces_are_on_their_way() -> None:
    async def silent(at: int, size: int) -> bytes:
        await anyio.sleep_forever()
        raise AssertionError

    async def impatient(answer: Awaitable[Any]) -> Any:
        with anyio.move_on_after(0.01):
            return await answer
        raise SourceUnavailable("it said nothing")

    with pytest.raises(SourceUnavailable), anyio.fail_after(30):
        await Ahead(silent, piece=10, most=8, patience=impatient).copy(0, 1_000, keep_nothing)
