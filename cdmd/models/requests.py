"""What a public listener hands to a connector, and what it says."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

import msgspec

from cdmd.kit.secret import Secret
from cdmd.kit.spans import SpanContext, span_of
from cdmd.models.arriving import Record, Verdict


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP request as a push connector sees it: limits are already checked, the body is read and decompressed.

    ``headers`` are (lower-case name, value) in order of arrival; ``body`` is the raw bytes as sent unless they were compressed;
    ``peer`` is the sender's address (behind trusted proxies what they say), ``target`` path and query exactly as they were
    sent, ``certificate`` the names in the client's verified certificate. ``named`` are the headers by name, where it is known
    that no name stands twice.
    """

    method: str
    path: str
    query: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    peer: str
    received: datetime
    target: str = ""
    certificate: Sequence[str] = ()
    named: Mapping[str, str] | None = None

    def header(self, name: str) -> str | None:
        """The first header of that lower-case ``name``, or None."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def span(self) -> SpanContext | None:
        """The trace that the sender says it is part of: for the records' ``span``, and for nothing else."""
        return span_of(dict(self.headers) if self.named is None else self.named)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP answer: status, body bytes and headers (names in lower case)."""

    status: int = 200
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()


class Emission(msgspec.Struct, frozen=True, kw_only=True):
    """What a push connector wants on the disk before it answers: records and its own state, durable together.

    ``answer`` is called with a verdict for each record once they are.
    """

    records: Sequence[Record]
    answer: Callable[[Sequence[Verdict]], Answer]
    state: Mapping[bytes, bytes | None] = {}


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A path (exact) that a push connector answers, its methods, and how large a body (bytes) it takes.

    ``shared``: other connectors may answer the same path with the same methods; each is asked whether it ``recognises`` a
    request. With ``secrets`` one more segment follows the path, and it must be one of them. Web pages of ``origins`` may read
    what the daemon itself answers here (413, 503); their browsers' questions (OPTIONS) reach a paused connector, too.
    """

    path: str
    methods: Sequence[str] = ("POST",)
    max_body: int | None = None
    shared: bool = False
    secrets: Sequence[Secret] = ()
    origins: Collection[str] = ()
