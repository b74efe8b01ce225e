"""What an HTTP answer to a delivery means, as a verdict; for every target that speaks HTTP. Pure.

A 2xx has it; 410 is gone; 429, and 503 with ``Retry-After``, ask everybody to wait; all else is a failure, a redirect too.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from http import HTTPStatus

from cdmd.kit.ratelimit_headers import retry_after
from cdmd.models import Delivered, DeliveryVerdict, Gone, Later


def verdict_of(status: int, headers: Mapping[str, str], answer: bytes, now: datetime) -> DeliveryVerdict:
    """The verdict of an answer with these headers (names compare without case) and the beginning of its body."""
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Delivered(status, answer)
    if status == HTTPStatus.GONE:
        return Gone(reason="it answers that it is gone (status 410)", status=status, answer=answer)
    seconds = retry_after(headers, wall=now.timestamp())
    at = None if seconds is None else now + timedelta(seconds=seconds)
    if status == HTTPStatus.TOO_MANY_REQUESTS or (status == HTTPStatus.SERVICE_UNAVAILABLE and at is not None):
        return Later(reason=f"it asks for a pause (status {status})", at=at, holds=True, status=status, answer=answer)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        reason = f"it redirects, which is never followed (status {status})"
    else:
        reason = f"it answers with status {status}"
    return Later(reason=reason, at=at, status=status, answer=answer)
