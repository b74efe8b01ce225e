"""Log lines without personal data and without secrets: fixed event names, an allow-list of keys, exceptions without messages.

A logger comes from ``Logs.logger()`` (structlog's usual methods); ``install`` also leads structlog.get_logger, the standard
library's logging, warnings and uncaught exceptions through the same list. Not for: audit rows, metrics.
"""

import logging
import queue
import re
import sys
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, MutableMapping
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Protocol, TypeAlias

import structlog
from typing_extensions import override

from cdmd.kit.frames import chain, class_name, frames

Line: TypeAlias = MutableMapping[str, Any]
Render: TypeAlias = Callable[[Line], bytes]

SAFE_KEYS: Final = frozenset({
    "connector", "plugin", "extension", "target", "stream", "kind", "seq", "head", "count", "counts", "events", "bytes",
    "records", "rows", "files", "accepted", "filtered", "rejected", "refused", "repeats", "backlog", "parked",
    "dead_letters", "attempt", "attempts", "restarts", "repeated", "dropped", "code", "status", "method", "reason",
    "state", "stage", "outcome", "seconds", "milliseconds", "delay", "due", "interval", "limit", "error", "causes",
    "frames", "logger", "listen", "socket", "path", "file", "version", "pid", "uid", "role", "command", "signal",
    "hook", "lane", "line", "journal_id", "step", "connectors", "plugins", "task", "until",
})  # fmt: skip
"""The only keys that reach a line. ``path`` and ``file`` are ours (configuration, state), never a supplier's."""

WORD_KEYS: Final = frozenset({"code", "command", "hook", "kind", "method", "outcome", "reason", "stage", "state", "step"})
"""Keys whose text must be one word: a code of ours, so that no sentence with a value in it slips through."""

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_EVENT: Final = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_WORD: Final = re.compile(r"[A-Za-z0-9_.:/*-]{1,80}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LONGEST_VALUE: Final = 300
_LONGEST_LIST: Final = 30


class Time(Protocol):
    """The part of ``contracts.Clock`` that a log line needs."""

    def now(self) -> datetime:
        """The wall clock in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow."""
        ...


class Write(Protocol):
    """Where finished lines go."""

    def __call__(self, line: bytes) -> None:
        """Write one line, whole. Raises OSError."""
        ...


class Logs:
    """The pipeline of one process. An error that repeats is shown ``burst`` times in ``period`` seconds, then counted."""

    def __init__(
        self,
        *,
        clock: Time,
        render: Render,
        write: Write,
        level: str = "info",
        burst: int = 5,
        period: float = 60.0,
        waiting: int = 10_000,
    ) -> None:
        self._clock, self._render = clock, render
        self._level, self._until, self._for_now = _LEVELS[level], 0.0, _LEVELS[level]
        self._repeats = _Repeats(burst, period)
        self._counts: Counter[str] = Counter()
        self._writer = _Writer(write, waiting)
        self._restore: list[Callable[[], None]] = []

    def logger(self, **context: Any) -> Any:
        """A logger whose lines all carry ``context``: ``logger.info("connector_started", connector="shop")``."""
        plain = structlog.PrintLogger()
        return structlog.wrap_logger(plain, processors=[self._finish], wrapper_class=structlog.BoundLogger).bind(**context)

    def set_level(self, level: str, *, seconds: float | None = None) -> None:
        """Show lines from ``level`` on, for ``seconds`` only when given. Raises KeyError for an unknown level."""
        if seconds is None:
            self._level, self._until = _LEVELS[level], 0.0
        else:
            self._for_now, self._until = _LEVELS[level], self._clock.monotonic() + seconds

    def statistics(self) -> dict[str, int]:
        """Counts of what was left out: ``keys``, ``names``, ``repeats``, ``lines`` (that nobody took in time)."""
        return {**self._counts, "lines": self._writer.lost}

    def install(self) -> None:
        """Lead everything in this process that logs through here; undone by ``close``."""
        structlog.configure(
            processors=[self._finish],
            wrapper_class=structlog.BoundLogger,
            logger_factory=structlog.PrintLoggerFactory(),
            cache_logger_on_first_use=False,
        )
        root, handler = logging.getLogger(), _Reduced(self)
        before = list(root.handlers), root.level
        root.handlers[:] = [handler]
        root.setLevel(logging.WARNING)  # below that, a line without its text says nothing
        logging.captureWarnings(True)
        hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
        sys.excepthook = self._uncaught
        threading.excepthook = lambda given: self._uncaught(given.exc_type, given.exc_value, given.exc_traceback)
        sys.unraisablehook = lambda given: self._uncaught(given.exc_type, given.exc_value, given.exc_traceback)

        def restore() -> None:
            sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
            logging.captureWarnings(False)
            root.handlers[:] = before[0]
            root.setLevel(before[1])
            structlog.reset_defaults()

        self._restore.append(restore)

    def close(self, *, seconds: float = 2.0) -> None:
        """Write what waits, at most that long, and undo ``install``."""
        while self._restore:
            self._restore.pop()()
        self._writer.close(seconds)

    def process(self, level: str, line: Line) -> None:
        """Check one line and hand it to the writer. Never raises for what a caller put into it."""
        now = self._clock.monotonic()
        if _LEVELS.get(level, 50) < (self._for_now if now < self._until else self._level):
            return
        clean = self._clean(level, line)
        if _LEVELS.get(level, 50) >= _LEVELS["warning"]:
            repeated = self._repeats.ask((clean["event"], clean.get("connector"), clean.get("error"), clean.get("logger")), now)
            if repeated is None:
                self._counts["repeats"] += 1
                return
            if repeated:
                clean["repeated"] = repeated
        self._writer.put(self._render(clean))

    def _clean(self, level: str, line: Line) -> Line:
        """Time, level and event name first, then the safe keys with bounded values."""
        event = line.pop("event", None)
        if not isinstance(event, str) or not _EVENT.fullmatch(event):
            event = "unnamed"
            self._counts["names"] += 1
        line = dict(line) | _described(line.pop("exc_info", None))
        clean: Line = {"ts": self._clock.now().isoformat(timespec="milliseconds"), "level": level, "event": event}
        for key, value in line.items():
            if key in SAFE_KEYS:
                clean[key] = _word(value) if key in WORD_KEYS else _bounded(value)
            else:
                self._counts["keys"] += 1
        return clean

    def _finish(self, _logger: Any, method: str, line: Line) -> str:
        """The one structlog processor: everything ends here, and structlog itself prints nothing."""
        if method == "exception":
            line.setdefault("exc_info", True)
        self.process({"exception": "error", "warn": "warning", "msg": "info"}.get(method, method), line)
        raise structlog.DropEvent

    def _uncaught(self, kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
        self.process("critical", {"event": "uncaught_exception", "exc_info": (kind, error or kind(), trace)})


class _Reduced(logging.Handler):
    """Other libraries' lines: their free text may quote anything, so only logger, level and exception class go on."""

    def __init__(self, logs: Logs) -> None:
        super().__init__()
        self._logs = logs

    @override
    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname.lower()
        line = {"event": "library_log", "logger": record.name, "exc_info": record.exc_info}
        self._logs.process(level if level in _LEVELS else "info", line)


class _Repeats:
    """How often the same line may be shown. Bounded: the line not seen for longest is forgotten."""

    def __init__(self, burst: int, period: float, *, most: int = 1000) -> None:
        self._burst, self._period, self._most = burst, period, most
        self._seen: OrderedDict[object, tuple[float, int]] = OrderedDict()

    def ask(self, key: object, now: float) -> int | None:
        """None: do not show it. Else how many were left out before it."""
        since, count = self._seen.pop(key, (now, 0))
        left_out = 0
        if now - since >= self._period:
            since, left_out, count = now, max(0, count - self._burst), 0
        self._seen[key] = since, count + 1
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return left_out if count < self._burst else None


class _Writer:
    """A thread that writes, so that a slow reader of stderr never holds up the event loop."""

    def __init__(self, write: Write, waiting: int) -> None:
        self._write, self.lost = write, 0
        self._queue: queue.Queue[bytes | None] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._work, name="logs", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        try:
            self._queue.put_nowait(line)
        except queue.Full:
            self.lost += 1

    def close(self, seconds: float) -> None:
        try:
            self._queue.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def _work(self) -> None:
        while (line := self._queue.get()) is not None:
            try:
                self._write(line)
            except (OSError, ValueError):  # a closed or broken stderr: nobody is left to tell
                self.lost += 1


def escaped(text: str, *, longest: int = _LONGEST_VALUE) -> str:
    """``text`` without characters that steer a terminal or break a line, at most ``longest`` of it."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text[:longest])


def _word(value: Any) -> Any:
    return "(text)" if isinstance(value, str) and not _WORD.fullmatch(value) else _bounded(value)


def _bounded(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_bounded(part) for part in list(value)[:_LONGEST_LIST]]
    if isinstance(value, Mapping):
        return {escaped(str(key)): _word(part) for key, part in list(value.items())[:_LONGEST_LIST]}
    return f"({type(value).__name__})"


def _described(given: Any) -> dict[str, Any]:
    error = given[1] if isinstance(given, tuple) and len(given) > 1 else given
    error = sys.exc_info()[1] if error is True else error
    if not isinstance(error, BaseException):
        return {}
    causes = chain(error)
    return {"error": class_name(error), "frames": frames(error)} | ({"causes": causes} if causes else {})


def priority(level: str) -> int:
    """The syslog priority of a level."""
    return _PRIORITIES.get(level, 2)
