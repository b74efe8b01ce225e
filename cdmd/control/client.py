"""The other end of the control socket: HTTP/1.1 over AF_UNIX with nothing that is slow to import: ``cdmctl`` starts fast.

Documents come back as plain JSON; problem documents become our errors. Raises ``Unreachable`` where no daemon answers and
``NotPermitted`` where the socket itself refuses.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final
from urllib.parse import urlencode

from cdmd.control.problems import MEDIA_TYPE, PROBLEM, error_of
from cdmd.control.wire import BrokenAnswer, Connection, Response
from cdmd.errors import CdmdError, NotPermitted, Unreachable

TIMEOUT: Final = 30.0
"""Seconds without a byte until the daemon counts as not answering."""

STREAM_TIMEOUT: Final = 60.0
"""The same for a stream, whose heartbeat comes every 15 seconds."""


_OK: Final = 200


class Client:
    """Asks the daemon at the first of ``paths`` that answers; the timeouts (seconds) bound each silence."""

    def __init__(self, paths: Sequence[str], *, timeout: float = TIMEOUT, stream_timeout: float = STREAM_TIMEOUT) -> None:
        self._paths, self._timeout, self._stream_timeout = paths, timeout, stream_timeout

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """The document at ``path``."""
        return self._ask("GET", _target(path, query), None, self._timeout)

    def post(self, path: str, body: Mapping[str, Any] | None = None, *, timeout: float | None = None) -> Any:
        """Send ``body`` (JSON) and return the answer; ``timeout`` in seconds for what takes long."""
        return self._ask("POST", path, body or {}, self._timeout if timeout is None else timeout)

    def text(self, path: str) -> str:
        """The answer of ``path`` as it is."""
        with closing(self._connected(self._timeout)) as connection:
            return _whole(_send(connection, "GET", path, None)).decode()

    def stream(self, path: str, query: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """The lines of a stream without its heartbeats, for as long as it goes on. Raises why it cannot go on."""
        with closing(self._connected(self._stream_timeout)) as connection:
            response = _send(connection, "GET", _target(path, query), None)
            if response.status != _OK:
                _whole(response)
            for document in _lines(response):
                if document.get("type") == PROBLEM:
                    raise error_of(document["problem"])
                if document.get("type") != "heartbeat":
                    yield document

    @contextmanager
    def raw(self, method: str, target: str, *, body: bytes | None, headers: Mapping[str, str]) -> Iterator[Response]:
        """The daemon's own answer to a request that somebody else made, whatever its status; to be read inside the block."""
        with closing(self._connected(self._stream_timeout)) as connection, _spoken():
            yield connection.ask(method, target, body=body, headers=headers)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, timeout: float) -> Any:
        with closing(self._connected(timeout)) as connection:
            return _decoded(_whole(_send(connection, method, path, body)))

    def _connected(self, timeout: float) -> Connection:
        for path in self._paths:
            connection = Connection(path, timeout=timeout)
            try:
                connection.connect()
            except PermissionError as error:
                connection.close()
                raise NotPermitted(f"you may not use {path}: act as root, or join the group that owns it") from error
            except (OSError, ValueError):
                connection.close()
            else:
                return connection
        looked = ", ".join(self._paths) or "no place"
        raise Unreachable(f"no daemon answers at {looked}: start it with `cdmd run`, or name its socket with --socket")


def _target(path: str, query: Mapping[str, Any] | None) -> str:
    said = {key: value for key, value in (query or {}).items() if value is not None and value is not False}
    said = {key: "1" if value is True else value for key, value in said.items()}
    return f"{path}?{urlencode(said, errors='replace')}" if said else path


def _send(connection: Connection, method: str, path: str, body: Mapping[str, Any] | None) -> Response:
    encoded = None if body is None else json.dumps(body).encode()
    with _spoken():
        return connection.ask(method, path, body=encoded, headers={"content-type": "application/json"})


@contextmanager
def _spoken() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise Unreachable("the daemon takes connections but does not answer: see its log") from error
    except (OSError, BrokenAnswer) as error:
        raise Unreachable("the daemon went away while it was asked: see its log") from error


def _whole(response: Response) -> bytes:
    try:
        body = response.whole()
    except (OSError, BrokenAnswer) as error:
        raise Unreachable("the daemon went away while it answered: see its log") from error
    if response.status == _OK:
        return body
    if response.header("content-type").startswith(MEDIA_TYPE):
        raise error_of(_decoded(body))
    raise CdmdError(f"the daemon answered with HTTP status {response.status} and no reason: see its log")


def _lines(response: Response) -> Iterator[Any]:
    """Whole lines up to the one that ends the stream; without it the daemon died, however the connection looks."""
    while True:
        try:
            line = response.line()
        except TimeoutError as error:
            raise Unreachable("the stream fell silent: see the daemon's log") from error
        except (OSError, BrokenAnswer) as error:
            raise Unreachable("the daemon went away") from error
        if not line.endswith(b"\n"):
            raise Unreachable("the daemon went away")
        document = _decoded(line)
        if document.get("type") == "end":
            return
        yield document


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise CdmdError("what answers there does not speak like cdmd: is this its control socket?") from error
