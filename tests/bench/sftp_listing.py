"""The process that lists: PORT USERNAME FINGERPRINT FOLDER, the private key on its input.

Prints how many names, the seconds by the clock and of its processor, and its MiB before and at their highest.
"""

import asyncio
import os
import socket
import sys
import time

import anyio

from cdmd.connectors.files.places import SftpFiles
from cdmd.connectors.files.settings import SftpSettings
from cdmd.connectors.formats.jsonl import Jsonl, JsonlSettings
from cdmd.contracts import ChosenFormat
from cdmd.kit.secret import Secret
from tests.bench.figures import resident_mib


class Reaching:
    """As much of a source as a listing needs."""

    async def connect(self, host: str, port: int, *, timeout: float) -> socket.socket:
        """A connection."""
        found = socket.socket()
        found.setblocking(False)
        await asyncio.get_running_loop().sock_connect(found, (host, port))
        return found


async def main(port: str, username: str, fingerprint: str, folder: str) -> None:
    """List once, as the watcher does."""
    settings = SftpSettings(
        path=folder,
        format=ChosenFormat(Jsonl, JsonlSettings()),
        host="127.0.0.1",
        port=int(port),
        username=username,
        private_key=Secret(sys.stdin.buffer.read(), reference="env:KEY"),
        host_key=fingerprint,
    )
    area = SftpFiles("sup", settings).area(Reaching())  # type: ignore[arg-type]
    await area.client()
    before, began, used, count = resident_mib(os.getpid()), time.perf_counter(), time.process_time(), 0
    async for page in area.listing():
        count += len(page)
    print(count, time.perf_counter() - began, time.process_time() - used, before, resident_mib(os.getpid()))
    await area.close()


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
