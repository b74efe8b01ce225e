import asyncio

import anyio
import anyio.lowlevel
import pytest

from cdmd.kit.bounded_http import _Door

pytestmark = pytest.mark.anyio


class Wire(asyncio.Transport):
    """Records each write as the system call it would be."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data) -> None:
        assert not self.closed
        self.sent.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def door(wire: Wire) -> _Door:
    return _Door(wire, asyncio.get_running_loop(), wire.close)


async def test_head_and_body_leave_together() -> None:
    wire = Wire()
    one = door(wire)
    one.write(b"head")
    one.write(b"body")
    assert wire.sent == [b"headbody"]
    await anyio.lowlevel.checkpoint()
    assert wire.sent == [b"headbody"]


async def test_what_has_nothing_behind_it_leaves_with_the_next_turn_of_the_loop() -> None:
    wire = Wire()
    one = door(wire)
    for part in (b"head", b"first line", b"second line"):
        one.write(part)
        await anyio.lowlevel.checkpoint()
        assert wire.sent[-1] == part


async def test_closing_sends_what_is_held_first() -> None:
    wire = Wire()
    one = door(wire)
    one.write(b"head")
    one.close()
    assert wire.sent == [b"head"]
    assert wire.closed
    await anyio.lowlevel.checkpoint()


async def test_nothing_is_written_to_a_connection_that_is_gone() -> None:
    wire = Wire()
    one = door(wire)
    one.write(b"head")
    wire.close()
    await anyio.lowlevel.checkpoint()
    assert wire.sent == []
