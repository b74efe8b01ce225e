"""Performs one call of an extension's function: in its way, under its deadline, with what it gives back checked.

What came of it is a value, whatever the function did. Not here: breakers, figures, and what becomes of the event (``calling``).
"""

import inspect
from collections.abc import Callable, Coroutine
from math import isfinite
from traceback import walk_tb
from typing import Any, Final, NamedTuple, cast

import msgspec

from cdmd.contracts import Context, Extension
from cdmd.errors import AddressRefused, Drop, Failed, Forbidden, Reject, RequestFailed, RetryLater
from cdmd.extensions.driving import DeadlinePassed, Driven, Misbehaved
from cdmd.extensions.threads import Threads
from cdmd.kit.frames import place
from cdmd.kit.json_text import check_finite
from cdmd.kit.logs import escaped
from cdmd.models import Event

_ENCODE: Final = msgspec.msgpack.Encoder().encode
_DECODE: Final = msgspec.msgpack.Decoder(Event).decode
_SHOW: Final = msgspec.json.Encoder().encode
_ITS_OWN: Final = ("id", "source", "type", "received")
"""What of an event no extension may change."""

_LONGEST: Final = 300
"""Characters of a reason in a plugin's own words."""

_SOONEST: Final = 0.1
_LATEST: Final = 366 * 86_400.0
"""Seconds: nobody is called again sooner or later than that, whatever was asked for."""

_OURS: Final = ("cdmd.extensions", "cdmd.plugins", "cdmd.isolation")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds for each extension: calls at once, threads of a plain function, and bytes of an event it returns."""

    calls: int = 64
    threads: int = 4
    event_bytes: int = 4 * 2**20


class Failure(Exception):
    """A call failed; the text is the reason an administrator reads and names no value.

    ``logged`` is what the log says in its place, where the text is the plugin's own.
    """

    def __init__(self, reason: str, *, logged: str | None = None) -> None:
        super().__init__(reason)
        self.logged = logged


class NotCalled(RetryLater):
    """The extension could not be called at all, and nothing of it is its doing: neither a success nor a failure."""


class Came(NamedTuple):
    """What came of a call: the event as it is now (None: as it was), what the extension asked for, or why it failed.

    ``logged``: what of a failure may stand in the log, where its text is the plugin's own.
    ``dropped``: the call's coroutine would not end, so the state of the task it ran in can no longer be trusted.
    """

    event: Event | None = None
    asked: Drop | RetryLater | Reject | None = None
    failure: str | None = None
    logged: str | None = None
    dropped: bool = False


class Function:
    """An extension's function; ``threads`` are those of a plain one, named after ``key``."""

    def __init__(self, key: str, extension: Extension, limits: Limits) -> None:
        self._extension, self._limits = extension, limits
        function = extension.function
        self.is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - an object whose __call__ is async
        )
        self.threads = Threads(key, limits.threads)

    async def perform(
        self, event: Event, context: Context, *, suspended: Callable[[], None] = lambda: None, timeout: float | None = None
    ) -> Came:
        """Call it once, with a copy; raises nothing but a cancellation of the task that awaits it.

        ``timeout`` in seconds instead of the extension's own; ``suspended``: see ``Driven``.
        """
        seconds = self._extension.timeout if timeout is None else timeout
        try:
            call = self._start(_DECODE(_ENCODE(event)), context)
            returned = await Driven(call, timeout=seconds, suspended=suspended)
            return Came(None if returned is None else self._checked(event, returned))
        except NotCalled as instead:
            return Came(asked=instead)
        except (Drop, RetryLater, Reject) as asked:
            return _asked(asked)
        except DeadlinePassed as late:
            how = " and would not end when it was cancelled" if late.dropped else ""
            return Came(failure=f"no answer within {seconds:g} s{how}", dropped=late.dropped)
        except Failure as failure:
            return Came(failure=str(failure), logged=failure.logged)
        except (Exception, Misbehaved) as error:  # noqa: BLE001 - whatever a plugin raises is a verdict about this event
            return _failed(error.what if isinstance(error, Misbehaved) else error)

    def _start(self, event: Event, context: Context) -> Coroutine[Any, Any, Any]:
        if not self.is_async:
            return self._in_thread(event, context)
        # The function's own coroutine, not one around it: only that can be closed over and over.
        return cast("Coroutine[Any, Any, Any]", self._extension.function(event, context))

    async def _in_thread(self, event: Event, context: Context) -> Any:
        result = await self.threads.call(self._extension.function, event, context)
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            raise Failure("returned a coroutine: declare the function with async def")
        return result

    def _checked(self, before: Event, returned: Any) -> Event:
        if not isinstance(returned, Event):
            raise Failure(f"returned {type(returned).__name__} instead of an event or None")
        if (
            returned.id != before.id
            or returned.source != before.source
            or returned.type != before.type
            or returned.received != before.received
        ):
            fields = [name for name in _ITS_OWN if getattr(returned, name) != getattr(before, name)]
            raise Failure(f"changed the event's {fields[0]}")
        try:
            encoded = _ENCODE(returned)
            kept = _DECODE(encoded)
            _SHOW(returned)
            check_finite(encoded, kept.traits, kept.data)
        except Exception as error:
            raise Failure("returned an event that cannot be stored") from error
        if kept.time is not None and kept.time.tzinfo is None:
            raise Failure("returned an event whose time has no zone")
        if len(encoded) > self._limits.event_bytes:
            raise Failure(f"returned an event of more than {self._limits.event_bytes} bytes")
        return kept


def _said(raised: BaseException) -> str:
    """What may be told of it: our client's own words, the status of an answer, else its class alone."""
    name = type(raised).__name__
    if isinstance(raised, Forbidden):
        return str(raised)
    if isinstance(raised, AddressRefused):
        return f"{name} (no address that its settings name, or one that is not allowed)"  # its text may name what data named
    modules = [str(frame.f_globals.get("__name__", "")) for frame, _ in walk_tb(raised.__traceback__)]
    if isinstance(raised, RequestFailed) and modules and modules[-1].startswith("cdmd.kit."):
        return f"{name} ({raised})"
    status = getattr(getattr(raised, "response", None), "status_code", None)
    return f"{name} {status}" if isinstance(status, int) else name


def _asked(asked: Drop | RetryLater | Reject) -> Came:
    """What it asked for, in one line; a failure where that cannot be read."""
    try:
        reason = escaped(str(asked.reason))
        match asked:
            case Drop():
                return Came(asked=Drop(reason))
            case Reject():
                return Came(asked=Reject(reason))
            case RetryLater():
                return _later(asked.seconds, reason)
    except Exception:  # noqa: BLE001 - an author may hand in anything, or skip our constructor
        return Came(failure=f"raised {type(asked).__name__} without what it is made with")


def _later(seconds: Any, reason: str) -> Came:
    """As many seconds as one may wait, of any number: an integer may be larger than any float."""
    whole = isinstance(seconds, int) and not isinstance(seconds, bool)
    if not whole and not (isinstance(seconds, float) and isfinite(seconds)):
        return Came(failure="asked to be called later without a number of seconds")
    return Came(asked=RetryLater(float(min(max(seconds, _SOONEST), _LATEST)), reason))


def _failed(raised: BaseException) -> Came:
    """A failure in the plugin's own words, else by what may be told of the exception."""
    try:
        where = _where(raised)
        own = escaped(" ".join(str(raised.reason).split()), longest=_LONGEST) if isinstance(raised, Failed) else ""
        return Came(failure=own or where, logged=where)
    except Exception:  # noqa: BLE001 - what is asked of an exception is foreign code, too
        return Came(failure=type(raised).__name__)


def _where(raised: BaseException) -> str:
    """The exception's class and the plugin's own line; never a stranger's text, which may hold a customer's values."""
    said = _said(raised)
    places = [(str(frame.f_globals.get("__name__", "")), frame, line) for frame, line in walk_tb(raised.__traceback__)]
    places = [one for one in places if not one[0].startswith(_OURS)]
    if not places:
        return said
    package = places[0][0].partition(".")[0]
    module, frame, line = next(one for one in reversed(places) if one[0].partition(".")[0] == package)
    return f"{said} at {place(module, frame.f_code.co_filename)}:{line}"
