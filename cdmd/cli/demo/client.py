"""The demo's client: an endpoint that receives what changed, and takes nothing whose signature it cannot verify."""

import base64
import hmac
import json
import secrets
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Final

from typing_extensions import override

from cdmd.cli.demo.part import Expected, Part, Stage, secret_file

_CONFIG: Final = """
[targets.client]
type = "webhook"
url = "{url}/hooks/cdmd"
secret = "file:client.secret"
events = ["*"]
order = "per_profile"
"""
_FEW: Final = 4
_POLL_SECONDS: Final = 0.05


class _Server(ThreadingHTTPServer):
    """Says nothing of connections that end: the daemon is killed while it sends."""

    daemon_threads = True

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Client(Part):
    """Verifies as any receiver would: by the secret, over id, time and body."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._lock = Lock()
        self._received: dict[str, str] = {}
        self._refused = 0
        self._url = ""

    @override
    @contextmanager
    def opened(self, folder: Path) -> Iterator[str]:
        secret_file(folder, "client.secret", "whsec_" + base64.b64encode(self._key).decode())
        server = _Server(("127.0.0.1", 0), self._handler())
        thread = Thread(target=server.serve_forever, args=(_POLL_SECONDS,), daemon=True)
        thread.start()
        try:
            self._url = f"http://127.0.0.1:{server.server_address[1]}"
            yield _CONFIG.format(url=self._url)
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        client = self

        class Hook(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                taken = client.take(dict(self.headers.items()), body)
                self.send_response(204 if taken else 401)
                self.end_headers()

            @override
            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        return Hook

    def take(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether it is signed; what arrives again is taken once."""
        given = {name.lower(): value for name, value in headers.items()}
        signed = f"{given.get('webhook-id')}.{given.get('webhook-timestamp')}.".encode() + body
        expected = base64.b64encode(hmac.digest(self._key, signed, "sha256")).decode()
        good = any(hmac.compare_digest(f"v1,{expected}", one) for one in given.get("webhook-signature", "").split())
        with self._lock:
            if good:
                self._received[given["webhook-id"]] = json.loads(body)["type"]
            else:
                self._refused += 1
        return good

    @override
    def play(self, stage: Stage) -> None:
        stage.telling.scene(
            "The client: an endpoint that was told each change as it happened (webhooks, signed, verified here)"
        )
        with self._lock:
            kinds = Counter(self._received.values())
        for kind, count in kinds.most_common(_FEW):
            stage.telling.fact("told", f"{count} x {kind}")
        stage.telling.fact("verified", f"the signatures of all {sum(kinds.values())} messages, of {len(kinds)} kinds")

    @property
    @override
    def expected(self) -> Expected:
        return Expected(0)

    @property
    @override
    def facts(self) -> Mapping[str, str]:
        return {"client": self._url}

    @override
    def waits(self, status: Any) -> bool:
        return any(row["name"] == "client" and row["waiting"] > 0 for row in status["targets"])

    @override
    def lacking(self, customer: Any, status: Any) -> list[str]:
        with self._lock:
            received, refused = len(self._received), self._refused
        (row,) = [one for one in status["targets"] if one["name"] == "client"]
        found = []
        if refused:
            found.append(f"the client refused {refused} messages: their signatures are wrong")
        if received != row["delivered"] or not received:
            found.append(f"the client has {received} messages, {row['delivered']} were delivered")
        return found
