"""HTTP/1.1 as a client of the control socket needs it: one request on a connection, one answer read piece by piece.

The standard library's client would do, but to import it (with e-mail and TLS behind it) takes longer than to ask the daemon.
Lengths and chunks are of RFC 9112; what does not speak so is a ``BrokenAnswer``.
"""

from collections.abc import Mapping
from io import BufferedReader
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Final

_LONGEST_LINE: Final = 65_536
_MOST_HEADERS: Final = 100
_NO_BODY: Final = frozenset((204, 304))


class BrokenAnswer(Exception):
    """What came is no answer, or not the whole of it."""


class Connection:
    """A connection to the socket at ``path``, not yet connected; ``timeout`` in seconds bounds each silence."""

    def __init__(self, path: str, *, timeout: float) -> None:
        self._path = path
        self._socket = socket(AF_UNIX, SOCK_STREAM)
        self._socket.settimeout(timeout)
        self._coming: BufferedReader | None = None

    def connect(self) -> None:
        """Raises OSError, or ValueError for a path that cannot be one."""
        self._socket.connect(self._path)

    def ask(self, method: str, target: str, *, body: bytes | None, headers: Mapping[str, str]) -> "Response":
        """Send a request and read the head of its answer. Raises OSError and ``BrokenAnswer``.

        ``target`` and ``headers`` come from whoever runs the command: what would end a line in them is refused.
        """
        sent = {"host": "cdmd", "connection": "close", **headers}
        if body is not None:
            sent["content-length"] = str(len(body))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
        if any("\r" in line or "\n" in line for line in lines):
            raise BrokenAnswer("a request may not hold line ends")
        self._socket.sendall("\r\n".join(lines).encode("latin-1", "replace") + (body or b""))
        self._coming = self._socket.makefile("rb")
        return Response(self._coming)

    def close(self) -> None:
        """Hang up; a response that was not read to its end cannot be read any more."""
        if self._coming is not None:
            self._coming.close()
        self._socket.close()


class Response:
    """The head of an answer, and its body to be read: whole, by pieces as they come, or by lines.

    ``status`` is its number, ``headers`` are in their order with small letters, and ``left`` is what is still to come of a body
    whose length was said, else None.
    """

    def __init__(self, coming: BufferedReader) -> None:
        self._from = coming
        self.status = _status(self._line())
        self.headers = self._headers()
        self.left = self._length()
        self._chunked = self.left is None and self.header("transfer-encoding").lower() == "chunked"
        self._chunk = 0
        self._ended = self.left == 0
        self._kept = b""

    def header(self, name: str) -> str:
        """The first header of this name, else nothing."""
        return next((value for key, value in self.headers if key == name), "")

    def piece(self, most: int) -> bytes:
        """What has come of the body, at most so many bytes; nothing at its end. Raises OSError and ``BrokenAnswer``."""
        if self._ended:
            return b""
        if self._chunked:
            return self._piece_of_chunk(most)
        found = self._from.read1(most if self.left is None else min(most, self.left))
        if self.left is not None:
            if not found:
                raise BrokenAnswer("the answer broke off")
            self.left -= len(found)
        self._ended = not found or self.left == 0
        return found

    def whole(self) -> bytes:
        """The body from here to its end. Raises OSError and ``BrokenAnswer``."""
        found: list[bytes] = []
        while piece := self.piece(_LONGEST_LINE):
            found.append(piece)
        return b"".join(found)

    def line(self) -> bytes:
        """The next line with its end; without one where the body ended before it. Raises OSError and ``BrokenAnswer``."""
        while b"\n" not in self._kept and (piece := self.piece(_LONGEST_LINE)):
            self._kept += piece
        line, end, self._kept = self._kept.partition(b"\n")
        return line + end

    def _piece_of_chunk(self, most: int) -> bytes:
        if not self._chunk:
            self._chunk = _hexadecimal(self._line())
            if not self._chunk:
                self._ended = True
                while self._line():
                    pass
                return b""
        found = self._from.read1(min(most, self._chunk))
        if not found:
            raise BrokenAnswer("the answer broke off")
        self._chunk -= len(found)
        if not self._chunk and self._line():
            raise BrokenAnswer("a chunk is longer than it said")
        return found

    def _headers(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        while line := self._line():
            if len(found) == _MOST_HEADERS:
                raise BrokenAnswer("too many headers")
            name, _, value = line.partition(":")
            found.append((name.strip().lower(), value.strip()))
        return found

    def _length(self) -> int | None:
        if self.status in _NO_BODY:
            return 0
        said = self.header("content-length")
        if not said:
            return None
        if not (said.isascii() and said.isdigit()):
            raise BrokenAnswer("a length that is no number")
        return int(said)

    def _line(self) -> str:
        """A line of the framing, without its end."""
        line = self._from.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise BrokenAnswer("the answer broke off")
        return line.rstrip(b"\r\n").decode("latin-1")


def _status(line: str) -> int:
    version, _, rest = line.partition(" ")
    number = rest[:3]
    if not version.startswith("HTTP/1.") or not (number.isascii() and number.isdigit()):
        raise BrokenAnswer("that is no answer of HTTP")
    return int(number)


def _hexadecimal(line: str) -> int:
    try:
        return int(line.partition(";")[0].strip(), 16)
    except ValueError as error:
        raise BrokenAnswer("a chunk's length is no number") from error
