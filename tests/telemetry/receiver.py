"""An OTLP receiver over HTTP: takes what an exporter sends and decodes it with the published protobuf."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

from tests.peers.serving import serving


class Got(NamedTuple):
    """A span as it arrived: ids in hexadecimal, times in nanoseconds."""

    name: str
    trace: str
    span: str
    parent: str
    kind: int
    start: int
    end: int
    failed: bool
    attributes: Mapping[str, Any]


class Receiver:
    """Remembers spans, their resources and headers; answers with ``status`` while it is ``speaking``."""

    def __init__(self) -> None:
        self.spans: list[Got] = []
        self.resources: list[Mapping[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.status, self.asked = 200, 0
        self.speaking = threading.Event()
        self.speaking.set()

    @contextmanager
    def served(self) -> Iterator[str]:
        receiver = self

        class Taking(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.asked += 1
                receiver.speaking.wait(30)
                if receiver.status == 200:
                    receiver.take(self.path, body, {name.lower(): text for name, text in self.headers.items()})
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(receiver.status)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        with serving(Taking) as url:
            try:
                yield url
            finally:
                self.speaking.set()

    def take(self, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        assert path == "/v1/traces"
        self.headers.append(headers)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(_values(resource.resource.attributes))
            self.spans += [_got(span) for scope in resource.scope_spans for span in scope.spans]


def _got(span: Any) -> Got:
    return Got(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.kind,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == 2,
        _values(span.attributes),
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
