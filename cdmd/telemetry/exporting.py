"""Spans as OTLP over HTTP (https://opentelemetry.io/docs/specs/otlp/): the one module that imports OpenTelemetry.

The exporter's own ``OTEL_*`` variables hold where the configuration says nothing: endpoint, headers, timeout, certificates,
compression, and what the resource is called.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from cdmd.telemetry.spans import Span

_KINDS: Final = {"consumer": SpanKind.CONSUMER, "internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT}
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_UNNAMED: Final = "unknown_service"


class Exporter:
    """Sends to ``endpoint`` (its ``/v1/traces``), with these headers; where they are None as the environment says."""

    def __init__(self, *, endpoint: str | None, headers: Mapping[str, str] | None, version: str) -> None:
        # What it says of failures is said by the queue, once and counted.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
        where = None if endpoint is None else f"{endpoint.rstrip('/')}/v1/traces"
        self._exporter = OTLPSpanExporter(endpoint=where, headers=None if headers is None else dict(headers))
        self._resource = _resource(version)
        self._scope = InstrumentationScope("cdmd", version)

    def send(self, spans: Sequence[Span]) -> bool:
        """Whether they arrived. It blocks, for as long as the exporter's timeout allows."""
        return self._exporter.export([self._readable(span) for span in spans]) is SpanExportResult.SUCCESS

    def close(self) -> None:
        """Give up what is being tried."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _readable(self, span: Span) -> ReadableSpan:
        trace = int(span.trace, 16)
        parent = None
        if span.parent is not None:
            parent = SpanContext(trace, int(span.parent, 16), is_remote=span.theirs, trace_flags=_SAMPLED)
        return ReadableSpan(
            name=span.name,
            context=SpanContext(trace, int(span.span, 16), is_remote=False, trace_flags=_SAMPLED),
            parent=parent,
            resource=self._resource,
            attributes=span.attributes,
            kind=_KINDS[span.kind],
            status=Status(StatusCode.ERROR if span.failed else StatusCode.UNSET),
            start_time=span.start,
            end_time=span.end,
            instrumentation_scope=self._scope,
        )


def _resource(version: str) -> Resource:
    """What the environment calls it, else ``cdmd``."""
    said = Resource.create({"service.version": version})
    named = str(said.attributes.get("service.name", _UNNAMED))
    return said.merge(Resource({"service.name": "cdmd"})) if named.startswith(_UNNAMED) else said
