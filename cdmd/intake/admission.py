"""What a request must pass before its connector sees it: what its head says, and its body inflated within the limit.

Pure. Not here: the order of the checks and what is counted (``cdmd.intake.edge``).
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from cdmd.intake.routes import Mounted
from cdmd.kit.pages import origin_of, readable
from cdmd.models import Answer

CLOSE: Final = ("connection", "close")
_GZIP: Final = ("gzip", "x-gzip")
_GZIP_WINDOW: Final = 31
_SHORTEST: Final = 18
_MOST_RATIO: Final = 1032
"""No byte of a deflated text stands for more (zlib's technical details)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeLimits:
    """What the edge allows: bytes of one body, bytes of all bodies held at once, requests of one connector at once.

    ``answer_seconds`` bounds the time a connector may take for one answer.
    """

    max_body: int = 2**20
    bytes_in_flight: int = 64 * 2**20
    concurrent: int = 1024
    answer_seconds: float = 30.0


class Refusal(Exception):
    """The request is answered without the connector. ``reason`` is the word it is counted under."""

    def __init__(self, answer: Answer, reason: str) -> None:
        super().__init__(reason)
        self.answer, self.reason = answer, reason


def admit(mounted: Mounted, method: str, headers: Mapping[str, str]) -> bool:
    """Check all that the head of the request tells; returns whether the body is compressed. Raises ``Refusal``."""
    if method not in mounted.route.methods:
        allow = ("allow", ", ".join(mounted.route.methods))
        raise Refusal(Answer(status=405, headers=[allow, CLOSE]), "method")
    declared = headers.get("content-length")
    if declared is not None and not (declared.isdecimal() and int(declared) <= mounted.most):
        raise too_large(mounted.most)
    encoding = headers.get("content-encoding")
    if encoding is None:
        return False
    encoding = encoding.lower()
    if encoding not in _GZIP and encoding != "identity":
        raise Refusal(Answer(status=415, headers=[("accept-encoding", "gzip"), CLOSE]), "encoding")
    return encoding in _GZIP


def declared(packed: bytes, limit: int, *, room: int) -> int:
    """How many bytes a gzip member says that it holds (its last four bytes, RFC 1952), before any is inflated.

    Raises ``Refusal`` where these are more than ``limit``, than there is ``room`` for now, or than so few bytes can hold.
    """
    size = int.from_bytes(packed[-4:], "little")
    if len(packed) < _SHORTEST or size > _MOST_RATIO * len(packed):
        raise _broken("the body is not one whole gzip member")
    if size > limit:
        raise too_large(limit)
    if size > room:
        raise Refusal(busy(1), "busy")
    return size


def inflate(packed: bytes, size: int) -> bytes:
    """The one gzip member that ``packed`` holds, and not a byte more than the ``declared`` size. Raises ``Refusal``."""
    inflater = zlib.decompressobj(_GZIP_WINDOW)
    try:
        body = inflater.decompress(packed, size + 1)
    except zlib.error:
        raise _broken("the body is not gzip") from None
    if len(body) > size or not inflater.eof or inflater.unused_data:
        raise _broken("the body is not one whole gzip member")
    return body


def readable_answer(mounted: Mounted, given: Sequence[tuple[str, str]], answer: Answer) -> Answer:
    """``answer`` as a web page may read it where it is one of whom a connector of this path lets in; else as it is."""
    for one in mounted.sharing or (mounted,):
        origin = origin_of(given, one.route.origins)
        if origin is not None:
            return msgspec.structs.replace(answer, headers=readable(answer.headers, origin=origin))
    return answer


def has_body(headers: Iterable[tuple[str, str]]) -> bool:
    """Whether a body follows this head."""
    return any((name == "content-length" and value != "0") or name == "transfer-encoding" for name, value in headers)


def busy(seconds: int) -> Answer:
    """Come again in so many seconds."""
    body = b'{"code":"unavailable","message":"this cannot be taken now; send it again later"}'
    return Answer(status=503, body=body, headers=[("content-type", "application/json"), ("retry-after", str(seconds))])


def too_large(limit: int) -> Refusal:
    """The body is, or would be, larger than ``limit`` bytes."""
    body = b'{"code":"too_large","message":"the body may have %d bytes, also when it is decompressed"}' % limit
    return Refusal(Answer(status=413, body=body, headers=[("content-type", "application/json"), CLOSE]), "too_large")


def _broken(sentence: str) -> Refusal:
    body = b'{"code":"invalid_gzip","message":"%s"}' % sentence.encode()
    return Refusal(Answer(status=400, body=body, headers=[("content-type", "application/json")]), "encoding")
