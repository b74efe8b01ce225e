"""Messages between two processes over a socket: a kind of one byte and a length, then the content."""

import pickle
import socket
import struct
from typing import Final

HEAD: Final = struct.Struct(">cI")


def send(link: socket.socket, kind: bytes, content: bytes = b"") -> None:
    """Send one. Raises OSError where the other side is gone."""
    link.sendall(HEAD.pack(kind, len(content)) + content)


def receive(link: socket.socket) -> tuple[bytes, bytes] | None:
    """The next one: its kind and content; None where the other side is gone."""
    head = _exactly(link, HEAD.size)
    if head is None:
        return None
    kind, length = HEAD.unpack(head)
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


def sendable(error: Exception) -> Exception:
    """The same where it can be made again from what it says, else its name."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - just made
    except Exception:  # noqa: BLE001 - what a plugin's or a library's error is made of is its own affair
        return RuntimeError(type(error).__name__)
    return error
