"""Between the daemon and whoever takes spans: a queue that is bounded, never waited for, and counts what it had no room for.

A thread of its own sends: an endpoint that is slow or away takes nothing from the event loop, and a daemon that stops does not
wait for it longer than it is told to.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from cdmd.telemetry.spans import Span

MOST: Final = 20_000
"""Spans that may wait: some ten MB, four seconds of 1,000 events a second of which all are told."""
_AT_ONCE: Final = 512
_PAUSE: Final = 0.25


class SpanQueue:
    """``send`` takes some spans and says whether they arrived; it may block and is called in one thread only."""

    def __init__(self, send: Callable[[Sequence[Span]], bool], *, most: int = MOST, pause: float = _PAUSE) -> None:
        self._send, self._most, self._pause = send, most, pause
        self._waiting: deque[Span] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._lacking = False
        self._log = structlog.get_logger("cdmd.telemetry")
        self._dropping = threading.Lock()
        self.sent = self.dropped = 0

    def put(self, span: Span) -> None:
        """Send it soon; it is dropped and counted where too many wait."""
        if len(self._waiting) >= self._most:
            self._drop(1)
            return
        self._waiting.append(span)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Send what waits, for at most so long; it blocks."""
        self._stopping.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            stopping = self._stopping.wait(self._pause)
            while self._waiting:
                self._hand_over([self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))])
            if stopping:
                return

    def _hand_over(self, some: Sequence[Span]) -> None:
        try:
            arrived = self._send(some)
        except Exception as error:  # noqa: BLE001 - the exporter is foreign code: whatever it raises, these did not arrive
            arrived = False
            self._log.debug("spans_export_failed", error=type(error).__name__)
        if not arrived:
            self._drop(len(some))
            return
        self.sent += len(some)
        if self._lacking:
            self._lacking = False
            self._log.info("spans_arrive_again", dropped=self.dropped)

    def _drop(self, count: int) -> None:
        """Said once, until some arrive again. By whoever puts one in and by the thread that sends."""
        with self._dropping:
            self.dropped += count
            first, self._lacking = not self._lacking, True
        if first:
            self._log.warning("spans_dropped", dropped=self.dropped)
