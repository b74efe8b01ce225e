"""Listeners of others that do nothing, as processes of their own: what a durable answer is held against from outside.

``asyncio`` is a plain ``asyncio.Protocol`` with httptools as anybody would write it: a parser for each connection, callbacks
for address, headers and body, the answer written when the message is complete. ``uvloop`` is the same on that loop, ``uvicorn``
a bare ASGI application with httptools. None of them verifies, decodes or bounds anything.
Run: python -m tests.bench.listeners KIND FOLDER
"""

import asyncio
import json
import sys
from typing import Any

import httptools
import uvicorn
import uvloop

from cdmd.kit.serving import bind

KINDS = ("asyncio", "uvloop", "uvicorn")
_BODY = b'{"accepted":1,"filtered":0}'


class Plain(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        keep = self.parser.should_keep_alive()
        self.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: %s\r\n\r\n%s"
            % (len(_BODY), b"keep-alive" if keep else b"close", _BODY)
        )
        if not keep:
            self.transport.close()


async def application(scope: Any, receive: Any, send: Any) -> None:
    """The same for ASGI."""
    assert scope["type"] == "http"
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _BODY})


async def run(kind: str) -> None:
    """Until standard input ends."""
    bound = bind("127.0.0.1:0")
    print(json.dumps({"port": bound.getsockname()[1]}), flush=True)
    if kind == "uvicorn":
        config = uvicorn.Config(application, http="httptools", loop="none", lifespan="off", access_log=False, log_level="error")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        await asyncio.to_thread(sys.stdin.readline)
        server.should_exit = True
        await serving
    else:
        async with await asyncio.get_running_loop().create_server(Plain, sock=bound):
            await asyncio.to_thread(sys.stdin.readline)


def main() -> None:
    kind = sys.argv[1]
    with asyncio.Runner(loop_factory=asyncio.new_event_loop if kind == "asyncio" else uvloop.new_event_loop) as runner:
        runner.run(run(kind))


if __name__ == "__main__":
    main()
