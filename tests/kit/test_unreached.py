"""Why nobody was reached."""

import errno
import socket
import ssl

import pytest

from cdmd.kit.unreached import unreached


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EHOSTUNREACH, "joe@example.com"), "the other side cannot be reached: No route to host"),
        (caused(RuntimeError("joe@example.com"), ConnectionRefusedError(errno.ECONNREFUSED, "x")),
         "the other side cannot be reached: Connection refused"),
        (caused(OSError("all failed"), TimeoutError()), "the other side cannot be reached"),
        (socket.gaierror(socket.EAI_NONAME, "joe@example.com"), "the other side cannot be reached"),
        (caused(RuntimeError(), ssl.SSLCertVerificationError(1, "joe@example.com")),
         "the other side's certificate is not one that can be trusted"),
        (ssl.SSLError(1, "joe@example.com"), "no encrypted connection to the other side can be agreed on"),
    ],
)  # fmt: skip
def test_the_cause_that_the_system_knows_is_said_and_no_librarys_words(error: BaseException, said: str) -> None:
    assert unreached(error) == said
