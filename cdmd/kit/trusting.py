"""How a client checks certificates, and which one it shows (mutual TLS): contexts from what the configuration holds."""

import os
import ssl
from typing import Any, Protocol, runtime_checkable

from cdmd.kit.secret import Secret


@runtime_checkable
class Trusting(Protocol):
    """Settings that bring their own way to check certificates."""

    def trust(self) -> ssl.SSLContext | None:
        """The context; None for the system's. Blocks."""
        ...


def trust_of(settings: object) -> ssl.SSLContext | None:
    """The settings' own way to check certificates, where they bring one. Blocks. Raises ssl.SSLError."""
    return settings.trust() if isinstance(settings, Trusting) else None


def client_context(*, authorities: bytes | None, certificate: bytes | None, key: Secret | None) -> ssl.SSLContext:
    """A client's TLS 1.2+ context: ``authorities`` (PEM) instead of the system's, a certificate chain to show with its key.

    OpenSSL reads files only: they are kept in memory (memfd) and never reach a disk. Blocks. Raises ssl.SSLError.
    """
    cadata = None if authorities is None else authorities.decode("ascii", "replace")
    context = ssl.create_default_context(cadata=cadata)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None and key is not None:
        with _in_memory(certificate) as chain, _in_memory(key.reveal()) as private:
            context.load_cert_chain(f"/proc/self/fd/{chain.fileno()}", f"/proc/self/fd/{private.fileno()}")
    return context


def _in_memory(content: bytes) -> Any:
    handle = os.fdopen(os.memfd_create("cdmd-tls"), "w+b")
    handle.write(content)
    handle.flush()
    return handle
