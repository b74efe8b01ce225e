"""The program that runs a plugin's extensions apart from the daemon: ``python -m cdmd.isolation.child`` (see ``keeping``).

It trusts the daemon and is not trusted by it. It ends with the daemon: where the other end of its pair of sockets closes, or,
while it hangs, by the kernel (``kit.children``).
"""

import asyncio
import contextvars
import functools
import os
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import EntryPoint
from socket import socket
from typing import Final

import anyio
import anyio.abc

from cdmd.config.example import example
from cdmd.config.plugins import settle
from cdmd.errors import Drop, Reject, RetryLater
from cdmd.extensions import Limits, LoopWatch, PluginContext, Registered, Stall
from cdmd.extensions.calling import keys
from cdmd.extensions.context import Spanned
from cdmd.extensions.performing import Came, Function
from cdmd.isolation.confining import confine
from cdmd.isolation.messages import (
    LARGEST,
    Answer,
    Begin,
    Call,
    End,
    Frames,
    FromChild,
    Line,
    Noticed,
    Ready,
    ToChild,
    Told,
    decode_to_child,
    framed,
)
from cdmd.kit.addresses import hosts_in, parse_networks
from cdmd.kit.children import parent
from cdmd.kit.clock import SystemClock
from cdmd.kit.confinement import Kept
from cdmd.kit.egress import GuardedHttp
from cdmd.kit.frames import sentence
from cdmd.kit.logs import Line as LogLine
from cdmd.kit.logs import Logs, escaped
from cdmd.kit.memory import share_arenas
from cdmd.kit.secret import Secret
from cdmd.kit.steadfast import steadfast
from cdmd.plugins import Plugins
from cdmd.plugins.described import Declared, Described

_AT_ONCE: Final = 256 * 1024
_NEVER: Final = 366 * 86_400.0


class Pair:
    """Our end of the pair. Whole messages are sent by whoever has one, in whatever thread; one thread takes what comes."""

    def __init__(self, end: socket) -> None:
        self._end, self._sending = end, threading.Lock()
        self._frames = Frames(LARGEST)

    def send(self, *messages: FromChild) -> None:
        """Send them; waits for as long as the daemon does not take them. Without it, that is the end."""
        data = b"".join(map(framed, messages))
        with self._sending:
            try:
                self._end.sendall(data)
            except OSError:
                os._exit(0)

    def receive(self) -> list[ToChild]:
        """What came, at least one; waits for it. Where the daemon is gone, that is the end."""
        while data := self._end.recv(_AT_ONCE):
            if found := [decode_to_child(one) for one in self._frames.take(data)]:
                return found
        os._exit(0)


class Host:
    """Serves calls of the extensions of one plugin."""

    def __init__(self, pair: Pair, begin: Begin, plugins: Plugins, *, kept: Kept) -> None:
        self._pair, self._begin, self._plugins, self._kept = pair, begin, plugins, kept
        self._clock = SystemClock()
        self._limits = Limits(event_bytes=begin.event_bytes)
        self._answers: list[FromChild] = []
        self._over = anyio.Event()

    async def run(self) -> None:
        """Until the daemon says that it ends."""
        begin, name = self._begin, self._begin.plugin
        tls = await anyio.to_thread.run_sync(ssl.create_default_context)
        hosts, allowed = hosts_in(begin.settings), parse_networks(list(begin.allowed))
        async with GuardedHttp(hosts=hosts, allowed=allowed, tls=tls) as http, anyio.create_task_group() as tasks:
            self._context = PluginContext(begin.settings, http, self._clock)
            registered = [Registered(name, one, self._context) for _, one in self._plugins.extensions()]
            self._places = {key: place for place, key in enumerate(keys(registered))}
            self._functions = [Function(key, registered[place].extension, self._limits) for key, place in self._places.items()]
            self._timeouts = [
                one.extension.timeout if function.is_async else _NEVER  # a thread cannot be cancelled: the daemon ends us all
                for one, function in zip(registered, self._functions, strict=True)
            ]
            watch = LoopWatch(
                registered, clock=self._clock, notice=self._stalled, report=self._stalled, owner=self._plugins.owner
            )
            await tasks.start(watch.run)
            await self._plugins.startup({name: self._context})
            (row,) = self._plugins.rows()
            declared = tuple(one.extension.name for one in registered)
            plain = tuple(place for place, one in enumerate(self._functions) if not one.is_async)
            self._pair.send(Ready(row.state, row.error, declared, self._kept.files, self._kept.signals, plain))
            take = functools.partial(self._take, tasks)
            ours = asyncio.get_running_loop(), contextvars.copy_context()
            threading.Thread(target=self._listen, args=(take, *ours), daemon=True).start()
            await self._over.wait()
            await self._plugins.shutdown()
            tasks.cancel_scope.cancel()

    def _listen(
        self, take: Callable[[list[ToChild]], None], loop: asyncio.AbstractEventLoop, context: contextvars.Context
    ) -> None:
        """In a thread, so that the daemon's end is noticed while the loop stands still."""
        with suppress(RuntimeError):  # the loop has ended
            while True:
                loop.call_soon_threadsafe(take, self._pair.receive(), context=context)

    def _take(self, tasks: anyio.abc.TaskGroup, messages: list[ToChild]) -> None:
        for message in messages:
            if isinstance(message, Call):
                tasks.start_soon(self._call, message)
            elif isinstance(message, End):
                self._over.set()

    async def _call(self, call: Call) -> None:
        context = Spanned(self._context, call.headers) if call.headers else self._context
        function, timeout = self._functions[call.extension], self._timeouts[call.extension]
        came = await function.perform(call.event, context, timeout=timeout)
        if not self._answers:  # what is answered in the same turn of the loop goes together
            asyncio.get_running_loop().call_soon(self._flush)
        self._answers.append(_answer(call.number, came))

    def _flush(self) -> None:
        answers, self._answers = self._answers, []
        self._pair.send(*answers)

    def _stalled(self, stall: Stall) -> None:
        self._pair.send(Noticed(self._places.get(stall.extension or ""), stall.describe()))


def _answer(number: int, came: Came) -> Answer:
    match came.asked:
        case Drop(reason=reason):
            return Answer(number, "drop", reason=escaped(str(reason)))
        case Reject(reason=reason):
            return Answer(number, "reject", reason=escaped(str(reason)))
        case RetryLater(seconds=seconds, reason=reason):
            return Answer(number, "later", reason=escaped(str(reason)), seconds=seconds)
        case None:
            pass
    if came.failure is not None:
        return Answer(number, "failed", reason=came.failure, logged=came.logged)
    return Answer(number, "unchanged") if came.event is None else Answer(number, "event", event=came.event)


def _described(plugins: Plugins, begin: Begin) -> Described:
    (row,) = plugins.rows()
    found = plugins.brought(begin.plugin)
    if row.error is not None or found is None:
        return Described(error=row.error or row.state)
    struct, name = found.settings, begin.plugin
    problems, defaults = ((), {}) if struct is None else settle(struct, name, begin.settings, secret=_unread)
    return Described(
        extensions=tuple(
            Declared(name=one.name, on=tuple(one.on), timeout=one.timeout, on_failure=one.on_failure)
            for one in found.extensions
        ),
        others=tuple(one for one in found.lines(name) if one.partition(" ")[0] in {"connector", "target", "format"}),
        later=tuple(found.later),
        problems=tuple(problems),
        defaults=defaults,
        example="" if struct is None else example(f"plugins.{name}", struct),
    )


def _unread(text: str, _key: tuple[str, ...]) -> Secret:
    """A secret is given to nobody before it is needed."""
    return Secret(text.encode() or b"x", reference=text)


def _logs(pair: Pair, level: str) -> Logs:
    def send(line: LogLine) -> bytes:
        pair.send(Line(line.pop("level"), dict(line)))
        return b""

    return Logs(clock=SystemClock(), render=send, write=lambda _: None, level=level)


def main() -> None:
    """Ends by itself or is ended."""
    end, _ = parent()
    pair = Pair(end)
    (begin,) = pair.receive()
    if not isinstance(begin, Begin):
        raise TypeError("the first message is no beginning")
    share_arenas()
    point = EntryPoint(begin.plugin, begin.value, "cdmd")
    kept = confine(begin, lambda text: pair.send(Noticed(None, text)))
    _logs(pair, begin.level).install()
    plugins = Plugins.load([point], {})
    if begin.describe:
        pair.send(Told(_described(plugins, begin)))
    else:
        options = steadfast(lambda error: pair.send(Noticed(None, f"tried to end its process: {sentence(error)}")))
        anyio.run(Host(pair, begin, plugins, kept=kept).run, backend_options=options)
    os._exit(0)  # whatever the plugin left running


if __name__ == "__main__":
    main()
