"""What the daemon and an extension's process say to each other: msgpack (https://msgpack.org), each message behind its length.

The other side of the daemon is not trusted: a message that is too long or none of these is the end of that process.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time
from typing import Any, Final, Literal, TypeAlias

import msgspec

from cdmd.models import Event
from cdmd.plugins.described import Described
from cdmd.plugins.registry import PluginState

_LENGTH: Final = 4
_ROOM: Final = 64 * 1024
"""What a message may hold beside its event, in bytes."""

LARGEST: Final = 16 * 2**20
"""Bytes of what the process is told at once, beside that room."""

Outcome: TypeAlias = Literal["event", "unchanged", "drop", "reject", "later", "failed"]


class Begin(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """The first message: which plugin, what it is given, and what its process may not touch (paths) or exceed (bytes).

    With ``describe`` the process says what it brings and ends; ``settings`` is then its table as it is written.
    """

    plugin: str
    value: str
    describe: bool = False
    settings: dict[str, Any] = {}
    allowed: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    max_memory: int | None = None
    event_bytes: int = 0
    level: str = "info"


class Call(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Call the extension at this place of those that were declared; ``headers`` say which span it is for."""

    number: int
    extension: int
    event: Event
    headers: dict[str, str] = {}


class End(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The daemon stops: no call will come."""


class Told(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """What the plugin said when it was asked what it brings."""

    described: Described


class Ready(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The plugin is loaded, and how it is; ``extensions`` are the names it declared, in order."""

    state: PluginState
    error: str | None
    extensions: tuple[str, ...]
    kernel: bool
    """Whether the kernel keeps the process from what is private, and from signalling others."""
    signals: bool
    plain: tuple[int, ...] = ()
    """The places of those that are plain functions, which only so many threads run at once."""


class Answer(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """What came of a call; ``reason`` without values, ``seconds`` for ``later``, ``logged``: see ``Came``."""

    number: int
    outcome: Outcome
    event: Event | None = None
    reason: str = ""
    seconds: float = 0.0
    logged: str | None = None


class Line(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A log line, reduced already; the daemon reduces it again."""

    level: Literal["debug", "info", "warning", "error", "critical"]
    line: dict[str, Any]


class Noticed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """What the plugin, or the extension at this place, was seen doing that it should not."""

    extension: int | None
    text: str


ToChild: TypeAlias = Begin | Call | End
FromChild: TypeAlias = Told | Ready | Answer | Line | Noticed

_MOMENTS: Final[Mapping[int, Callable[[str], object]]] = {
    1: datetime.fromisoformat,
    2: date.fromisoformat,
    3: time.fromisoformat,
}
"""TOML's dates and times by the type of the extension they are sent as: by themselves they would come as text."""


def _moment(kind: int, data: memoryview) -> object:
    return _MOMENTS[kind](bytes(data).decode())


def _with_moments(found: Any) -> Any:
    match found:
        case Mapping():
            return {key: _with_moments(one) for key, one in found.items()}
        case list() | tuple():
            return [_with_moments(one) for one in found]
        case datetime() | date() | time():
            kind = 1 if isinstance(found, datetime) else 2 if isinstance(found, date) else 3
            return msgspec.msgpack.Ext(kind, found.isoformat().encode())
        case _:
            return found


encode = msgspec.msgpack.Encoder().encode
decode_to_child = msgspec.msgpack.Decoder(Begin | Call | End, ext_hook=_moment).decode
decode_from_child = msgspec.msgpack.Decoder(Told | Ready | Answer | Line | Noticed).decode


class Junk(Exception):
    """What the other side sent is no message."""


def framed(message: ToChild | FromChild) -> bytes:
    """The message as it is sent."""
    if isinstance(message, Begin):
        message = msgspec.structs.replace(message, settings=_with_moments(message.settings))
    body = encode(message)
    return len(body).to_bytes(_LENGTH, "big") + body


class Frames:
    """Takes bytes as they come and gives the whole messages in them; none may be longer than an event of ``event_bytes``."""

    def __init__(self, event_bytes: int) -> None:
        self._longest, self._waiting = event_bytes + _ROOM, bytearray()

    def take(self, data: bytes) -> Iterator[memoryview]:
        """Each whole message, undecoded: to be read before the next is asked for. Raises ``Junk`` for one that is too long."""
        self._waiting += data
        at = 0
        while len(self._waiting) - at >= _LENGTH:
            length = int.from_bytes(self._waiting[at : at + _LENGTH], "big")
            if length > self._longest:
                raise Junk(f"a message of {length} bytes")
            end = at + _LENGTH + length
            if len(self._waiting) < end:
                break
            yield memoryview(bytes(self._waiting[at + _LENGTH : end]))
            at = end
        del self._waiting[:at]


def headers_of(context: object) -> Mapping[str, str]:
    """Which span a context is for (``cdmd.extensions.context.Spanned``)."""
    found = getattr(context, "headers", None)
    return found if isinstance(found, dict) else {}
