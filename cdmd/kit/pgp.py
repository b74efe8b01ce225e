"""Decryption by the gpg program: a child that is fed and read as a stream, and believed only when it says that all is well."""

import io
import os
import selectors
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
from typing_extensions import override

from cdmd.errors import FormatFault
from cdmd.kit.secret import Secret

_PIECE: Final = 2**16


class Gpg(msgspec.Struct, frozen=True, kw_only=True):
    """How to decrypt: gpg's home directory with the private key, its passphrase, the program, seconds without progress."""

    home: Path
    passphrase: Secret | None = None
    program: str = "gpg"
    patience: float = 60.0


@contextmanager
def decrypted(raw: BinaryIO, gpg: Gpg) -> Iterator[BinaryIO]:
    """The plain text of ``raw`` as a stream; it blocks. Raises ``FormatFault``, at the end of the stream at the latest.

    For gpg may hand over the beginning of a message before it finds that its end is missing or forged.
    """
    with ExitStack() as stack:
        child = stack.enter_context(_started(gpg))
        feeder = threading.Thread(target=_feed, args=(raw, child.stdin), name="cdmd-gpg", daemon=True)
        feeder.start()
        stack.callback(feeder.join)
        stack.callback(child.kill)
        yield _Plain(child, gpg.patience)  # type: ignore[misc]


@contextmanager
def _started(gpg: Gpg) -> Iterator["subprocess.Popen[bytes]"]:
    secret_out, secret_in = os.pipe()
    command = [
        gpg.program, "--batch", "--no-tty", "--quiet", "--homedir", str(gpg.home), "--status-fd", "2", "--pinentry-mode",
        "loopback", "--passphrase-fd", str(secret_out), "--decrypt",
    ]  # fmt: skip
    try:
        child = subprocess.Popen(  # noqa: S603 - the program and all arguments are the configuration's
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=(secret_out,)
        )
    except OSError as error:
        os.close(secret_in)
        raise FormatFault("no_gpg", f"{gpg.program} cannot be started: {error.strerror}; install GnuPG") from error
    finally:
        os.close(secret_out)
    with os.fdopen(secret_in, "wb") as secret, suppress(BrokenPipeError):
        secret.write(gpg.passphrase.reveal() if gpg.passphrase else b"")
        secret.write(b"\n")
    with child:
        yield child


def _feed(raw: BinaryIO, stdin: Any) -> None:
    with suppress(BrokenPipeError, OSError, ValueError), stdin:
        while piece := raw.read(_PIECE):
            stdin.write(piece)


class _Plain(io.RawIOBase):
    """The child's output; its end is one only when gpg says so."""

    def __init__(self, child: "subprocess.Popen[bytes]", patience: float) -> None:
        self._child, self._patience = child, patience
        self._said = b""
        self._watch = selectors.DefaultSelector()
        for pipe in (child.stdout, child.stderr):
            self._watch.register(pipe, selectors.EVENT_READ)  # type: ignore[arg-type]

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any) -> int:
        while self._watch.get_map():
            ready = self._watch.select(self._patience)
            if not ready:
                raise FormatFault("gpg_hangs", f"gpg made no progress for {self._patience:g} s")
            for key, _ in ready:
                piece = os.read(key.fd, len(buffer) if key.fileobj is self._child.stdout else _PIECE)
                if not piece:
                    self._watch.unregister(key.fileobj)
                elif key.fileobj is self._child.stdout:
                    buffer[: len(piece)] = piece
                    return len(piece)
                else:
                    self._said = (self._said + piece)[-_PIECE:]
        self._check()
        return 0

    def _check(self) -> None:
        code = self._child.wait()
        if code == 0 and b"DECRYPTION_OKAY" in self._said:
            return
        if b"DECRYPTION_FAILED" in self._said and b"PLAINTEXT" not in self._said:
            what = "gpg's home directory has no private key for it, or the passphrase is wrong"
            raise FormatFault("no_key", f"the file cannot be decrypted: {what}")
        if b"NODATA" in self._said:
            raise FormatFault("not_encrypted", "the file is not encrypted with PGP")
        raise FormatFault("damaged", "the file cannot be decrypted: it is cut, damaged or forged")

    @override
    def close(self) -> None:
        self._watch.close()
        super().close()
