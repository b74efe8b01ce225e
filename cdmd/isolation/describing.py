"""Asks a plugin what it brings, in a process of its own that is ended then. Blocks; for the start and for ``cdmd check``."""

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Final

import msgspec

from cdmd.isolation.messages import Begin, Frames, Junk, Told, decode_from_child, framed
from cdmd.kit.children import plain_environment, spawn
from cdmd.plugins.described import Described, Isolation

PATIENCE: Final = 15.0
"""Seconds: longer than a plugin has for being imported (``plugins.registry``), which is told by the one who knows."""

_LARGEST: Final = 4 * 2**20
_AT_ONCE: Final = 65_536


def describe(isolation: Isolation, table: Mapping[str, Any], *, private: Sequence[Path] = ()) -> Described:
    """What the plugin brings and what it says of its table (as it is written, references unread). Never raises."""
    begin = Begin(
        plugin=isolation.name,
        value=isolation.value,
        describe=True,
        settings=dict(table),
        private=tuple(map(str, private)),
        max_memory=isolation.max_memory,
    )
    try:
        with spawn("cdmd.isolation.child", environment=plain_environment(os.environ)) as child:
            child.socket.settimeout(PATIENCE)
            child.socket.sendall(framed(begin))
            found = _heard(child.socket)
    except TimeoutError:
        return Described(error=f"it was not loaded within {PATIENCE:g} s")
    except OSError as error:
        return Described(error=f"its process cannot be talked to: {error.strerror}")
    except (Junk, msgspec.MsgspecError, RecursionError):
        return Described(error="its process answered junk when it was loaded")
    return found or Described(error="its process ended while it was loaded")


def _heard(end: socket.socket) -> Described | None:
    frames, until = Frames(_LARGEST), monotonic() + PATIENCE
    while data := end.recv(_AT_ONCE):
        for one in frames.take(data):
            message = decode_from_child(one)
            if isinstance(message, Told):
                return message.described
        if monotonic() > until:
            raise TimeoutError
    return None
