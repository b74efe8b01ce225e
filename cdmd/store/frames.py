"""Messages between two processes over a socket: a kind of one byte and a length, then the content."""

import socket
import struct
from typing import Final

_HEAD: Final = struct.Struct(">cI")


def send(link: socket.socket, kind: bytes, content: bytes = b"") -> None:
    """Send one. Raises OSError where the other side is gone."""
    link.sendall(_HEAD.pack(kind, len(content)) + content)


def receive(link: socket.socket) -> tuple[bytes, bytes] | None:
    """The next one: its kind and content; None where the other side is gone."""
    head = _exactly(link, _HEAD.size)
    if head is None:
        return None
    kind, length = _HEAD.unpack(head)
    content = _exactly(link, length)
    return None if content is None else (kind, bytes(content))


def _exactly(link: socket.socket, count: int) -> bytearray | None:
    found = bytearray(count)
    view, have = memoryview(found), 0
    while have < count:
        try:
            more = link.recv_into(view[have:])
        except OSError:
            return None
        if not more:
            return None
        have += more
    return found
