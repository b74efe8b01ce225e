"""The connector: what is published is stored; a message of JetStream is acknowledged once it is on the disk."""

import hashlib
from datetime import datetime
from functools import partial
from typing import Any, ClassVar, Final

import anyio
import msgspec
import nats.errors
from anyio.streams.memory import MemoryObjectReceiveStream
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, NotFoundError

import cdmd
from cdmd_nats.connection import connected, denied
from cdmd_nats.settings import NatsSettings, problems

_WAIT: Final = 5.0
_ACK_WAIT: Final = 30.0
_AHEAD: Final = 1_000
_HELD: Final = 16 * 2**20
"""Bytes of each subject that may wait to be stored; what comes beyond is counted and gone."""

_KEPT: Final = 1_024


class NatsConnector:
    """A pull connector: the daemon's pace is the consumer's."""

    Settings: ClassVar[type[msgspec.Struct]] = NatsSettings
    type: ClassVar[str] = "nats"

    def __init__(self, name: str, settings: NatsSettings) -> None:
        if found := problems(settings):
            raise cdmd.ConfigInvalid([f"connectors.{name}.{problem}" for problem in found])
        self._name, self.settings = name, settings
        self._denied: str | None = None

    async def run(self, source: cdmd.Source) -> None:
        """Take what comes until cancelled. Raises ``cdmd.SourceUnavailable`` where the connection ends."""
        self._denied = None
        async with connected(self.settings, source, partial(self._told, source)) as client:
            source.unwell(None)
            try:
                if self.settings.stream is None:
                    await self._listen(client, source)
                else:
                    await self._consume(client, self.settings.stream, source)
            except (nats.errors.Error, APIError) as error:
                self._look_whether_denied()
                raise cdmd.SourceUnavailable(f"the connection to NATS ended ({type(error).__name__})") from error

    def _told(self, source: cdmd.Source, said: Exception) -> None:
        """What the server refuses, and what came faster than it was stored and is no more."""
        if isinstance(said, nats.errors.SlowConsumerError):
            source.refuse(1, "faster_than_stored")
        self._denied = self._denied or denied(said)

    def _look_whether_denied(self) -> None:
        if self._denied is not None:
            raise cdmd.SourceBlocked("NATS does not let this login do what it has to (permissions): its server's log says what")

    async def _consume(self, client: Client, stream: str, source: cdmd.Source) -> None:
        durable = self.settings.durable or f"cdmd-{self._name}"
        policy = DeliverPolicy.NEW if self.settings.since == "new" else DeliverPolicy.ALL
        config = ConsumerConfig(
            durable_name=durable,
            deliver_policy=policy,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=_ACK_WAIT,
            filter_subject=self.settings.subjects[0],
        )
        stream_of = client.jetstream(timeout=_WAIT)
        try:
            await stream_of.consumer_info(stream, durable)
        except NotFoundError:
            try:
                await stream_of.add_consumer(stream, config)
            except NotFoundError as error:
                raise cdmd.SourceBlocked(f"NATS has no stream {stream}: make it, or write another into stream") from error
            except APIError as error:
                why = error.description or "it says no more"
                raise cdmd.SourceBlocked(f"NATS makes no consumer {durable} of {stream}: {why}") from error
        subscription = await stream_of.pull_subscribe_bind(durable, stream)
        source.working(f"it waits for {stream}")
        while not client.is_closed:
            try:
                messages = await subscription.fetch(self.settings.batch, timeout=_WAIT)
            except (nats.errors.TimeoutError, TimeoutError):
                self._look_whether_denied()
                continue
            await source.emit([self._streamed(one, source) for one in messages])
            for one in messages:
                await one.ack()
        raise nats.errors.ConnectionClosedError

    async def _listen(self, client: Client, source: cdmd.Source) -> None:
        """What is published meanwhile. What comes faster than it is stored is dropped, and counted as refused."""
        arrivals, taken = anyio.create_memory_object_stream[Msg](_AHEAD)
        with arrivals, taken:
            for subject in self.settings.subjects:
                await client.subscribe(subject, queue=f"cdmd-{self._name}", cb=arrivals.send, pending_bytes_limit=_HELD)
            source.working("it listens")
            while True:
                messages = await _some(taken, self.settings.batch)
                self._look_whether_denied()
                if not messages and client.is_closed:
                    raise nats.errors.ConnectionClosedError
                await source.emit([self._published(one, source) for one in messages])

    def _streamed(self, message: Msg, source: cdmd.Source) -> cdmd.Record:
        about = message.metadata
        # Its moment, too: a stream that was made anew counts from one again, and its messages would be taken for repeats.
        name = f"{about.stream}:{about.sequence.stream}:{about.timestamp.isoformat()}"
        return _record(message, name, source.clock.now(), time=about.timestamp)

    def _published(self, message: Msg, source: cdmd.Source) -> cdmd.Record:
        """A message of no stream has no name: equal ones within three days are one unless ``event.id`` tells them apart."""
        key = source.secret("message")
        digest = hashlib.blake2b(message.subject.encode() + b"\0" + message.data, digest_size=16, key=key).hexdigest()
        return _record(message, digest, source.clock.now(), brief=True)


async def _some(taken: MemoryObjectReceiveStream[Msg], most: int) -> list[Msg]:
    """What came, once something did; nothing where nothing came for a while."""
    found: list[Msg] = []
    with anyio.move_on_after(_WAIT):
        found.append(await taken.receive())
        while len(found) < most:
            try:
                found.append(taken.receive_nowait())
            except anyio.WouldBlock:
                break
    return found


def _record(message: Msg, name: str, now: datetime, *, time: Any = None, brief: bool = False) -> cdmd.Record:
    """The payload is JSON; templates find ``_message.subject`` and ``_message.headers`` beside it."""
    headers = {key.lower().replace("-", "_"): text for key, text in (message.headers or {}).items()}
    context = {"_message": {"subject": message.subject, "headers": headers}}
    fault = None
    try:
        value = msgspec.json.decode(message.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value, fault = message.data[:_KEPT].decode(errors="replace"), cdmd.Fault("not_json", "the message is no JSON")
    known = headers.get("nats_msg_id")
    about = {"context": context, "time": time, "brief": brief and known is None, "fault": fault}
    return cdmd.Record(value=value, received=now, fallback_id=name, id=known, **about)
