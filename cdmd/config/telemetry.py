"""``[metrics]`` and ``[opentelemetry]`` as structs: where figures are read, and where events' ways are told as spans."""

import importlib.util
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from cdmd.kit.secret import Secret


class MetricsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[metrics]``."""

    listen: Annotated[
        str | None,
        Meta(description="Where `GET /metrics` is answered, as `HOST:PORT`; nowhere by default. It asks nobody who they are."),
    ] = None
    names: Annotated[
        tuple[str, ...],
        Meta(
            description="Under which names with a dot it is also answered (`cdmd.example.com`); under addresses, `localhost`,"
            " names of one word and the one in `listen` it always is."
        ),
    ] = ()


class OpenTelemetrySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[opentelemetry]``."""

    enabled: Annotated[
        bool,
        Meta(description="Tell the ways of events as spans, over OTLP with HTTP. Needs `pip install 'cdmd[otel]'`."),
    ] = False
    endpoint: Annotated[
        str | None,
        Meta(
            description="Where the collector is (`http://localhost:4318`; `/v1/traces` is added), by default as"
            " `OTEL_EXPORTER_OTLP_ENDPOINT` says. The other `OTEL_EXPORTER_OTLP_*`, `OTEL_SERVICE_NAME` and"
            " `OTEL_RESOURCE_ATTRIBUTES` hold, too."
        ),
    ] = None
    sample: Annotated[
        float, Meta(description="The share of traces that are told, all of one or nothing, by its id.", ge=0, le=1)
    ] = 0.01
    headers: Annotated[dict[str, Secret], Meta(description="What is sent along (`authorization`), each a secret.")] = {}

    def __post_init__(self) -> None:
        if problem := self._problem():
            raise ValueError(problem)

    def _problem(self) -> str | None:
        if self.endpoint is not None:
            if "@" in self.endpoint:  # whatever else it is: a text that may hold a password is not repeated
                return '`endpoint` holds a login: write it as a header (`headers = { authorization = "credential:NAME" }`)'
            if not _is_address(self.endpoint):
                return f"`endpoint` is {self.endpoint!r}: write http://HOST:PORT"
        if self.enabled and not _installed():
            return "`enabled` needs OpenTelemetry: pip install 'cdmd[otel]'"
        return None


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets, or a port that is none
        return False


def _installed() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False
