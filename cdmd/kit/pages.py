"""Web pages that send from a browser: what lets a page of a configured origin read an answer (CORS, the Fetch standard).

Pure. Not here: which origins are let in, and the answer to a browser's question beforehand (the connector's).
"""

from collections.abc import Container, Sequence

Headers = Sequence[tuple[str, str]]


def origin_of(headers: Headers, allowed: Container[str]) -> str | None:
    """The page's origin where it is one of those allowed; None for all others, and for what is no page."""
    return next((value for name, value in headers if name == "origin" and value in allowed), None)


def readable(headers: Headers, *, origin: str) -> Headers:
    """The headers of an answer with those by which a page of ``origin`` may read it."""
    return (
        *headers,
        ("access-control-allow-origin", origin),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "retry-after"),
        ("vary", "origin"),
    )
