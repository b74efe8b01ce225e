"""Why nobody was reached, in words of ours: what a library says may quote what was to be sent. Pure."""

import os
import ssl


def unreached(error: BaseException) -> str:
    """A sentence about the other side, by the cause of ``error`` that the system gives a number."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "the other side's certificate is not one that can be trusted"
        if isinstance(cause, ssl.SSLError):
            return "no encrypted connection to the other side can be agreed on"
        if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
            return f"the other side cannot be reached: {os.strerror(cause.errno)}"
        cause = cause.__cause__ or cause.__context__
    return "the other side cannot be reached"
