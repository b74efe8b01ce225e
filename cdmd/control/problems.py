"""Errors as they cross the control socket: RFC 9457 problem documents with a stable ``code``, both ways.

Imports nothing but the errors, because ``cdmctl`` needs it before it draws anything.
"""

from collections.abc import Mapping
from typing import Any, Final

from cdmd.errors import (
    AddressRefused,
    BadArguments,
    CdmdError,
    ConfigInvalid,
    Damaged,
    InUse,
    NotDurable,
    NotFound,
    NotPermitted,
    Overloaded,
    Paused,
    SchemaUnknown,
)

MEDIA_TYPE: Final = "application/problem+json"
INTERNAL: Final = "internal"
PROBLEM: Final = "problem"
"""The type of a stream's line that says why it ends early."""

# The first class that fits decides, so the narrower ones stand first.
_TABLE: Final[tuple[tuple[type[CdmdError], str, int], ...]] = (
    (BadArguments, "bad-arguments", 400),
    (NotPermitted, "not-permitted", 403),
    (NotFound, "not-found", 404),
    (ConfigInvalid, "config-invalid", 422),
    (Paused, "paused", 503),
    (NotDurable, "not-durable", 503),
    (Overloaded, "overloaded", 503),
    (Damaged, "damaged", 500),
    (InUse, "in-use", 409),
    (SchemaUnknown, "schema-unknown", 500),
    (AddressRefused, "address-refused", 502),
    (CdmdError, "failed", 500),
)


def codes() -> list[tuple[str, int, str]]:
    """Every problem code with its HTTP status and the sentence that explains it, for documentation."""
    return [(code, status, (kind.__doc__ or "").strip().splitlines()[0]) for kind, code, status in _TABLE]


def problem_of(error: CdmdError) -> dict[str, Any]:
    """The problem document of ``error``; ``status`` in it is the HTTP status to answer with."""
    kind, code, status = next(row for row in _TABLE if isinstance(error, row[0]))
    title = (kind.__doc__ or "").strip().splitlines()[0]
    document: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "code": code, "detail": str(error)}
    if isinstance(error, ConfigInvalid):
        document["problems"] = list(error.problems)
    if isinstance(error, Overloaded):
        document["retry_after"] = error.retry_after
    return document


def internal_problem() -> dict[str, Any]:
    """What is answered for our own mistake: nothing of it leaves but the fact."""
    detail = "cdmd made a mistake; its log says which"
    return {"type": "about:blank", "title": "Internal error.", "status": 500, "code": INTERNAL, "detail": detail}


def error_of(document: Mapping[str, Any]) -> CdmdError:
    """The error that a problem document tells of; an unknown code becomes a plain ``CdmdError``."""
    code, detail = document.get("code"), str(document.get("detail") or document.get("title") or "the daemon refused")
    kind = next((row[0] for row in _TABLE if row[1] == code), CdmdError)
    if kind is ConfigInvalid:
        problems = document.get("problems")
        return ConfigInvalid([str(line) for line in problems] if isinstance(problems, list) else [detail])
    if issubclass(kind, Overloaded):
        return kind(detail, retry_after=int(document.get("retry_after") or 1))
    return kind(detail)
