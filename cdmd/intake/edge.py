"""What the public listeners ask: the checks that every request passes before a connector sees it, and its answer.

In this order, each before the next costs anything: exact path, method, encoding, declared length, body (counted while it
streams, inflated under the same limits), a place among the connector's concurrent requests; then the connector answers.
Not here: signatures and decoding (the connector's), the sockets and their deadlines (``cdmd.kit.listener``).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, TypeAlias

import structlog

from cdmd.contracts import Clock, PushConnector, SharingConnector, Source
from cdmd.errors import Overloaded, Paused
from cdmd.intake import admission
from cdmd.intake.admission import EdgeLimits, Refusal, admit, busy, readable_answer, too_large
from cdmd.intake.probing import PROBES, Ready, unrouted
from cdmd.intake.routes import Mounted, Routes, behind_secret, mount
from cdmd.intake.visits import Visit
from cdmd.kit.deadlines import Deadlines
from cdmd.kit.exchanges import Exchange
from cdmd.kit.proxies import Proxies
from cdmd.models import Answer, Emission, Request, Verdict

Degraded: TypeAlias = Callable[[str, str], None]
"""Called with a connector's name and the fault's type name when it failed to answer."""

_PAUSED_RETRY: Final = 60
_AT_ONCE: Final = 64
_LARGE: Final = 64 * 1024
"""Bytes: a larger body is not inflated within a turn."""
_MOUNTED: Final = attrgetter("mounted")
_NOTHING: Final[Mapping[str, str]] = {}


class Edge:
    """The public listeners' handler (``cdmd.kit.exchanges``); ``swap`` exchanges the routes while it runs."""

    def __init__(
        self,
        *,
        clock: Clock,
        ready: Ready,
        degraded: Degraded,
        limits: EdgeLimits | None = None,
        proxies: Proxies | None = None,
    ) -> None:
        self._clock, self._ready, self._degraded, self._proxies = clock, ready, degraded, proxies
        self._limits = limits or EdgeLimits()
        self._deadlines = Deadlines(self._limits.answer_seconds)
        self._routes: Routes = {}
        self._arrived: list[Visit] = []
        self._inflater = ThreadPoolExecutor(1, "inflate")
        self._bytes = 0
        self._requests = 0
        self._counts = {"unknown_path": 0, "failed": 0}
        self._log = structlog.get_logger()

    def swap(self, connectors: Iterable[tuple[PushConnector, Source]]) -> None:
        """Answer these connectors' routes from now on; requests under way end with the old ones.

        Raises ConfigInvalid where two claim one path; then nothing changes.
        """
        self._routes = mount(connectors, max_body=self._limits.max_body, reserved=PROBES)

    def check(self, connectors: Iterable[tuple[PushConnector, Source]]) -> None:
        """Raise what ``swap`` would raise, and change nothing."""
        mount(connectors, max_body=self._limits.max_body, reserved=PROBES)

    def statistics(self) -> Mapping[str, int]:
        """Requests so far, those to unknown paths, those a connector failed on, and the body bytes held now."""
        return {"requests": self._requests, **self._counts, "bytes_in_flight": self._bytes}

    # ---- a request arrives -------------------------------------------------------------------------------------------

    def begin(self, exchange: Exchange) -> None:
        """Check all that its head tells."""
        self._requests += 1
        mounted = self._routes.get(exchange.path) or behind_secret(self._routes, exchange.path)
        if mounted is None:
            self._counts["unknown_path"] += exchange.path not in PROBES
            _send(exchange, unrouted(exchange, self._ready))
            return
        named = dict(exchange.headers)
        try:
            exchange.held = Visit(self, exchange, mounted, named, admit(mounted, exchange.method, named))
        except Refusal as refused:
            mounted.source.refuse(1, refused.reason)
            _send(exchange, readable_answer(mounted, exchange.headers, refused.answer))

    def piece(self, exchange: Exchange, data: bytes) -> None:
        """Count the body while it streams."""
        visit: Visit = exchange.held
        size = len(data)
        if visit.size + size > visit.mounted.most:
            self._refuse(visit, too_large(visit.mounted.most))
        elif self._bytes + size > self._limits.bytes_in_flight:
            self._refuse(visit, Refusal(busy(1), "busy"))
        else:
            self._bytes += size
            visit.size += size
            visit.pieces.append(data)

    def left(self, exchange: Exchange) -> None:
        """Its client has gone. One that was whole goes its way all the same."""
        if not exchange.whole:
            visit: Visit = exchange.held
            exchange.held = None
            visit.mounted.source.refuse(1, "disconnected")
            self._bytes -= visit.size

    def complete(self, exchange: Exchange) -> None:
        """Its turn comes when all that can be read now has been read."""
        visit: Visit = exchange.held
        if visit.gzipped:
            self._unpack(visit)
        else:
            self._queue(visit)

    def _unpack(self, visit: Visit) -> None:
        """Hold all that a packed body says it holds before any of it is inflated."""
        packed = b"".join(visit.pieces)
        try:
            size = admission.declared(packed, visit.mounted.most, room=self._limits.bytes_in_flight - self._bytes)
        except Refusal as refused:
            self._refuse(visit, refused)
            return
        self._bytes += size
        visit.size += size
        inflated = partial(admission.inflate, packed, size)
        if size <= _LARGE:
            visit.plain = inflated
            self._queue(visit)
        else:
            inflating = asyncio.get_running_loop().run_in_executor(self._inflater, inflated)
            visit.plain = inflating.result
            inflating.add_done_callback(lambda _: self._queue(visit))

    def _queue(self, visit: Visit) -> None:
        self._arrived.append(visit)
        if len(self._arrived) == 1:
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Take the requests that have arrived through one step after the other, all of them through each.

        The same step for many costs a fourth less than all steps for each (tests/bench/intake.py). Not more than
        ``_AT_ONCE``, so that the first of many are being committed while the next are decided.
        """
        turn, self._arrived = self._arrived[:_AT_ONCE], self._arrived[_AT_ONCE:]
        now = self._clock.now()
        try:
            entered = [(visit, request) for visit in turn if (request := self._entered(visit, now)) is not None]
            decided = [(visit, self._decided(visit, request)) for visit, request in entered]
            emitting: list[Visit] = []
            for visit, found in decided:
                if isinstance(found, Emission):
                    visit.wanted, visit.answer = found, found.answer
                    emitting.append(visit)
                elif isinstance(found, Answer):
                    self._end(visit, found)
                else:
                    self._start(visit, found, _checked)
            for mounted, visits in groupby(emitting, key=_MOUNTED):
                self._emit(mounted, list(visits))
            for visit in emitting:
                del visit.wanted
        finally:
            if self._arrived:
                loop = asyncio.get_running_loop()
                loop.call_soon(loop.call_soon, self._turn)

    def _entered(self, visit: Visit, now: datetime) -> Request | None:
        """What its connector is to see; None where it was refused."""
        try:
            request, mounted = self._request(visit, now), visit.mounted
            if mounted.sharing:
                visit.mounted = mounted = self._recognised(mounted, request)
            self._admit(mounted, request)
        except Refusal as refused:
            self._refuse(visit, refused)
            return None
        except Exception as fault:  # noqa: BLE001 - the border: a fault of ours is one request's 500, too, not a whole turn's
            visit.exchange.held = None
            self._bytes -= visit.size
            _send(visit.exchange, self._failed(visit.mounted.source, fault))
            return None
        mounted.active[0] += 1
        self._deadlines.add(visit)
        return request

    def _request(self, visit: Visit, now: datetime) -> Request:
        exchange, pieces, mounted, named = visit.exchange, visit.pieces, visit.mounted, visit.named
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        visit.pieces, visit.named = [], _NOTHING
        headers, peer, certificate = exchange.headers, exchange.peer, exchange.certificate
        proxies = self._proxies
        if proxies is not None:
            certificate = certificate or proxies.certificate(peer, headers)
            peer = proxies.client(peer, headers)
        return Request(
            method=exchange.method,
            path=mounted.path,
            query=exchange.query.decode(),
            headers=headers,
            body=visit.plain() if visit.gzipped else body,
            peer=peer,
            received=now,
            target=exchange.target.decode(),
            certificate=certificate,
            named=named if len(named) == len(headers) else None,
        )

    def _recognised(self, first: Mounted, request: Request) -> Mounted:
        """Whose request it is on a shared path: the first one's, to be refused, where nobody recognises it."""
        for one in first.sharing:
            try:
                if isinstance(one.connector, SharingConnector) and one.connector.recognises(request):
                    return one
            except BaseException as fault:  # noqa: BLE001 - the border: one connector's fault, SystemExit too, is not its neighbours'
                self._report(one.source, type(fault).__name__)
        return first

    def _admit(self, mounted: Mounted, request: Request) -> None:
        if mounted.active[0] >= self._limits.concurrent:
            raise Refusal(busy(1), "busy")
        if len(request.body) > mounted.max_body:
            raise too_large(mounted.max_body)

    # ---- and is answered ---------------------------------------------------------------------------------------------

    def _decided(self, visit: Visit, request: Request) -> Answer | Emission | Awaitable[Answer]:
        """At once where the connector can, else what is to be awaited.

        A connector's own trouble becomes 503 or 500, never its exception's text. ``Overloaded`` comes out of the source,
        which has counted its records: it is not counted here again.
        """
        mounted = visit.mounted
        try:
            decided = mounted.decide(request, mounted.source) if mounted.decide is not None else None
            if decided is None:
                return mounted.connector.answer(request, mounted.source)
            return decided if isinstance(decided, Emission) else _checked(decided)
        except BaseException as fault:  # noqa: BLE001 - the border: one connector's fault, SystemExit too, is one request's 500
            return self._trouble(visit, fault)

    def _emit(self, mounted: Mounted, visits: Sequence[Visit]) -> None:
        """All that one connector wants on the disk in this turn, at once; one after the other where one of them is at fault."""
        try:
            waiting = visits if mounted.taking is None else mounted.taking.take(visits)
        except Exception as fault:  # noqa: BLE001 - the border, as above
            if len(visits) == 1:
                self._end(visits[0], self._trouble(visits[0], fault))
            else:
                for visit in visits:
                    self._emit(mounted, (visit,))
            return
        for visit in waiting:
            self._emit_alone(visit)

    def _emit_alone(self, visit: Visit) -> None:
        wanted = visit.wanted
        emitted = visit.mounted.source.emit(wanted.records, state=wanted.state)
        self._start(visit, emitted, lambda verdicts: _checked(wanted.answer(verdicts)))

    def _start(self, visit: Visit, waited: Awaitable[Any], answer_of: Callable[[Any], Answer]) -> None:
        """A task has a deadline of its own."""
        self._deadlines.remove(visit)
        visit.exchange.start(self._wait, visit, waited, answer_of)

    async def _wait(self, visit: Visit, waited: Awaitable[Any], answer_of: Callable[[Any], Answer]) -> None:
        """For a connector's answer, or for the verdicts that its answer is made of."""
        answer: Answer | None = None
        try:
            with self._deadlines.of_current_task():
                answer = answer_of(await waited)
        except (Exception, SystemExit, KeyboardInterrupt) as fault:  # noqa: BLE001 - the border, as above
            answer = self._trouble(visit, fault)
        finally:
            self._end(visit, answer)

    def settle(self, visit: Visit, verdicts: list[Verdict] | None, error: Overloaded | None) -> None:
        """What ``visit`` wanted on the disk is there, or is not: answer."""
        try:
            answer = self._trouble(visit, error) if error is not None else _checked(visit.answer(verdicts or ()))
        except BaseException as fault:  # noqa: BLE001 - the border, as above
            answer = self._trouble(visit, fault)
        self._end(visit, answer)

    def give_up(self, visit: Visit) -> None:
        """Its time is up; what becomes of what it emitted is the source's to count."""
        self._end(visit, self._trouble(visit, TimeoutError()))

    def _trouble(self, visit: Visit, fault: BaseException) -> Answer:
        if isinstance(fault, Paused):
            answer = busy(_PAUSED_RETRY)
        elif isinstance(fault, Overloaded):
            answer = busy(fault.retry_after)
        else:
            answer = self._failed(visit.mounted.source, fault)
        return readable_answer(visit.mounted, visit.exchange.headers, answer)

    def _failed(self, source: Source, fault: BaseException) -> Answer:
        """What ran out of time may still have been emitted, so only the source knows how to count it."""
        self._counts["failed"] += 1
        self._report(source, type(fault).__name__)
        if isinstance(fault, TimeoutError):
            return busy(1)
        source.refuse(1, "failed")
        return Answer(status=500)

    def _report(self, source: Source, kind: str) -> None:
        self._log.error("connector_answer_failed", connector=source.name, error=kind)
        self._degraded(source.name, kind)

    def _refuse(self, visit: Visit, refused: Refusal) -> None:
        visit.mounted.source.refuse(1, refused.reason)
        visit.exchange.held = None
        self._bytes -= visit.size
        _send(visit.exchange, readable_answer(visit.mounted, visit.exchange.headers, refused.answer))

    def _end(self, visit: Visit, answer: Answer | None) -> None:
        """Let go of what it held, and answer."""
        exchange = visit.exchange
        visit.ended, exchange.held = True, None  # no circle that only the garbage collector would find
        self._deadlines.remove(visit)
        visit.mounted.active[0] -= 1
        self._bytes -= visit.size
        if answer is None or exchange.gone:
            return
        try:
            exchange.answer(answer.status, answer.headers, answer.body)
        except (ValueError, TypeError, AttributeError) as fault:
            _send(exchange, self._failed(visit.mounted.source, fault))


def _checked(answer: object) -> Answer:
    if not isinstance(answer, Answer):
        raise TypeError(f"answer() gave {type(answer).__name__}")
    return answer


def _send(exchange: Exchange, answer: Answer) -> None:
    exchange.answer(answer.status, answer.headers, answer.body)
