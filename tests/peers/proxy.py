"""A TCP proxy that misbehaves as it is told: cuts, resets, falls silent, puts garbage in, is slow or far away.

It runs in threads of its own, so that the loop under test has only its own work.
"""

import queue
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic

_STEP = 256 * 1024


class Proxy:
    """``fault`` happens to a connection after ``after`` bytes came from the server: "cut", "reset", "hang", "garbage".

    ``times`` says to how many connections; ``delay`` (seconds) is one way; ``rate`` in bytes a second.
    """

    def __init__(
        self,
        target: int,
        *,
        fault: str | None = None,
        after: int = 0,
        times: int = 1,
        delay: float = 0.0,
        rate: float | None = None,
    ) -> None:
        self.target, self.fault, self.after, self.times, self.delay, self.rate = target, fault, after, times, delay, rate
        self.connections = self.passed = 0
        self._ends = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = int(self._listener.getsockname()[1])
        self._start(self._accept)

    def close(self) -> None:
        """End every connection."""
        self._ends.set()
        for one in [self._listener, *self._sockets]:
            _end(one)
        for thread in self._threads:
            thread.join(60)

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ends.is_set():
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                return
            self.connections += 1
            server.settimeout(None)
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets.append(one)
            self._pump(client, server, faulty=False)
            self._pump(server, client, faulty=True)

    def _pump(self, source: socket.socket, sink: socket.socket, *, faulty: bool) -> None:
        way: queue.Queue[tuple[float, bytes]] = queue.Queue()
        self._start(self._take, source, way)
        self._start(self._give, way, sink, source, faulty)

    def _take(self, source: socket.socket, way: "queue.Queue[tuple[float, bytes]]") -> None:
        data = b"x"
        while data:
            try:
                data = source.recv(_STEP)
            except OSError:
                data = b""
            way.put((monotonic() + self.delay, data))

    def _give(self, way: "queue.Queue[tuple[float, bytes]]", sink: socket.socket, source: socket.socket, faulty: bool) -> None:
        count = 0
        with suppress(OSError):
            while True:
                due, data = way.get()
                self._ends.wait(max(0.0, due - monotonic()) if self.delay else 0.0)
                if not data:
                    break
                count += len(data)
                if faulty and self.fault and self.times > 0 and count > self.after:
                    self.times -= 1
                    self._break(sink, source, data)
                    break
                if faulty and self.rate:
                    for place in range(0, len(data), 4096):
                        part = data[place : place + 4096]
                        self._ends.wait(len(part) / self.rate)
                        sink.sendall(part)
                        self.passed += len(part)
                    continue
                sink.sendall(data)
                self.passed += len(data) * faulty
        _end(sink)

    def _break(self, sink: socket.socket, source: socket.socket, data: bytes) -> None:
        if self.fault == "hang":
            self._ends.wait(3600)
        if self.fault == "garbage":
            sink.sendall(bytes(255 - one for one in data))
            self._ends.wait(0.2)
        if self.fault == "reset":
            sink.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        _end(source)


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextmanager
def proxy(target: int, **given: object) -> Iterator[Proxy]:
    """One before ``target`` (a port of loopback)."""
    one = Proxy(target, **given)  # type: ignore[arg-type]
    try:
        yield one
    finally:
        one.close()
