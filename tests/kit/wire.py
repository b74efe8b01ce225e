"""A raw HTTP client over a stream, for what well-behaved clients never send."""

from collections.abc import Sequence
from contextlib import suppress

import anyio
import anyio.abc

DEADLINE = 30.0


async def read_answer(stream: anyio.abc.ByteStream) -> tuple[int, dict[str, str], bytes]:
    """One answer with a content-length: status, headers, body."""
    with anyio.fail_after(DEADLINE):
        received = b""
        while b"\r\n\r\n" not in received:
            received += await stream.receive()
        head, _, body = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        while len(body) < int(headers.get("content-length", "0")):
            body += await stream.receive()
        return int(first.split(" ")[1]), headers, body


async def read_to_end(stream: anyio.abc.ByteStream) -> bytes:
    """All that comes until the server closes."""
    received = b""
    with anyio.fail_after(DEADLINE), suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        while True:
            received += await stream.receive()
    return received


def head(method: str, path: str, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: test", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
