"""A connection to NATS servers, and JetStream's requests as values. The only place that knows the client library.

Every failure leaves as ``NotDurable`` with a sentence: whoever waits for an answer is told to come again.
"""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import cache
from importlib import import_module
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import anyio
import anyio.to_thread
import msgspec

from cdmd.errors import CdmdError, NotDurable
from cdmd.kit.secret import Secret

if TYPE_CHECKING:
    from nats.aio.client import Client, Server
    from nats.aio.msg import Msg

_CLOSING: Final = 2.0
_CONNECT: Final = 2
_PAUSE: Final = 0.2
REQUEST: Final = 2.0
_LOOK: Final = 0.02
_FULL: Final = frozenset({10047, 10077})
"""Insufficient storage, and maximum bytes exceeded (https://github.com/nats-io/nats-server, server/errors.json)."""
_MOVED: Final = frozenset({10070, 10071, 10164})
_GONE: Final = frozenset({10037, 10043, 10057})
"""No message there, or deleted; whoever erases what is gone has nothing left to do."""
NO_STREAM: Final = 10059
STREAM_EXISTS: Final = 10058
_SHORT: Final = 9
"""Parts of what tells of a message, where neither a domain nor an account is told."""


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Which servers, and how they let us in. ``authorities`` are certificates (PEM) instead of the system's."""

    servers: tuple[str, ...]
    username: str | None = None
    password: Secret | None = None
    token: Secret | None = None
    authorities: Secret | None = None


class Fault(msgspec.Struct, frozen=True):
    """What a server says when it does not do what it was asked."""

    code: int
    err_code: int = 0
    description: str = ""


class Refused(CdmdError):
    """JetStream does not do what it was asked."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"the NATS server says: {fault.description} ({fault.err_code})")
        self.fault = fault

    @property
    def gone(self) -> bool:
        """What was asked for is not there."""
        return self.fault.err_code in _GONE


class StreamFull(NotDurable):
    """The stream has as many bytes as it may have, or the server no room: to ask again at once is of no use."""


class Message(NamedTuple):
    """A message of a stream."""

    seq: int
    subject: str
    data: bytes


class Heard(NamedTuple):
    """What came where somebody listens: ``seq`` is its number where it lies in a stream, ``reply`` where an answer goes.

    ``status`` and what is ``told`` with it: of the server's own; empty otherwise.
    """

    subject: str
    reply: str
    data: bytes
    status: str = ""
    told: str = ""

    @property
    def seq(self) -> int:
        """Its number in the stream, as a consumer tells it.

        See https://docs.nats.io/reference/reference-protocols/nats_api_reference for the parts of the subject.
        """
        parts = self.reply.split(".")
        return int(parts[5] if len(parts) == _SHORT else parts[7])


class _Answer(msgspec.Struct, frozen=True):
    error: Fault | None = None


class _Ack(msgspec.Struct, frozen=True):
    seq: int = 0
    error: Fault | None = None


class Link:
    """A connection that comes back by itself. ``open`` it; ``server`` says who answers."""

    def __init__(self, client: "Client", *, patience: float) -> None:
        self._client, self._patience = client, patience

    @classmethod
    @asynccontextmanager
    async def open(cls, access: Access, *, name: str, patience: float = 3.0) -> AsyncIterator[Self]:
        """Connect; a publish waits up to ``patience`` seconds for a server. Raises ``NotDurable``."""
        client = await _connect(access, name)
        link = cls(client, patience=patience)
        try:
            yield link
        finally:
            with anyio.CancelScope(shield=True), suppress(Exception), anyio.fail_after(_CLOSING):
                await client.close()

    @property
    def max_payload(self) -> int:
        """The largest message that the server takes."""
        return self._client.max_payload

    @property
    def connected(self) -> bool:
        """Whether a server answers now."""
        return bool(self._client.is_connected)

    @property
    def server(self) -> str | None:
        """Host and port of the server that is talked to; None while there is none."""
        found = self._client.connected_url
        return found.netloc.rpartition("@")[2] if self.connected and found is not None else None

    async def publish(self, subject: str, payload: bytes, *, headers: Mapping[str, str], hasty: bool = False) -> int | None:
        """The stream's number for it once it is acknowledged; None where the stream does not end where ``headers`` expect it.

        Asks again, under the same message id, until ``patience`` is over (``hasty``: once). Raises ``NotDurable``.
        """
        until = anyio.current_time() + (_LOOK if hasty else self._patience)
        while True:
            try:
                return await self._publish(subject, payload, headers, until)
            except NotDurable as error:
                if isinstance(error, StreamFull) or anyio.current_time() >= until:
                    raise
            await anyio.sleep(_LOOK)

    async def _publish(self, subject: str, payload: bytes, headers: Mapping[str, str], until: float) -> int | None:
        answer = await self._request(subject, payload, headers=headers, seconds=max(until - anyio.current_time(), 0.5))
        ack = msgspec.json.decode(answer.data, type=_Ack)
        if ack.error is None:
            return ack.seq
        if ack.error.err_code in _MOVED:
            return None
        said = f"the NATS server does not take it: {ack.error.description}"
        raise StreamFull(said, retry_after=30) if ack.error.err_code in _FULL else NotDurable(said, retry_after=2)

    async def ask(self, what: str, body: Mapping[str, Any] | None = None) -> bytes:
        """The answer of JetStream's API. Raises ``Refused``, and ``NotDurable`` where there is none."""
        answer = await self._request(f"$JS.API.{what}", msgspec.json.encode(body) if body is not None else b"", seconds=REQUEST)
        fault = msgspec.json.decode(answer.data, type=_Answer).error
        if fault is None:
            return bytes(answer.data)
        if fault.code == 503:  # noqa: PLR2004 - no leader, no quorum: it is asked again
            raise NotDurable(f"the NATS server says: {fault.description}", retry_after=2)
        raise Refused(fault)

    async def direct(self, stream: str, body: Mapping[str, Any]) -> Message | None:
        """A message straight from a replica; None where it has none such (it may be behind)."""
        answer = await self._request(f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(body), seconds=REQUEST)
        headers = answer.headers or {}
        if "Nats-Sequence" not in headers:
            if headers.get("Status") == "404":
                return None
            raise NotDurable(f"the NATS server does not say what is in {stream}: {headers.get('Description', 'no answer')}")
        return Message(int(headers["Nats-Sequence"]), headers["Nats-Subject"], bytes(answer.data))

    async def say(self, subject: str, payload: bytes, *, headers: dict[str, str] | None = None, reply: str = "") -> None:
        """Send it to whoever listens; nobody is waited for. Raises ``NotDurable``."""
        if not self.connected:
            raise NotDurable("no NATS server can be reached", retry_after=2)
        nats = _library()
        try:
            await self._client.publish(subject, payload, reply=reply, headers=headers)
        except (nats.Error, OSError) as error:
            raise NotDurable(f"the NATS server did not take it ({type(error).__name__})", retry_after=2) from error

    async def request(self, subject: str, payload: bytes, *, seconds: float = REQUEST) -> bytes:
        """What whoever answers there says within ``seconds``. Raises ``NotDurable``."""
        return bytes((await self._request(subject, payload, seconds=seconds)).data)

    def inbox(self) -> str:
        """A subject of nobody else's."""
        return str(self._client.new_inbox())

    async def listen(self, subject: str, heard: Callable[[Heard], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """Tell ``heard``, which must not raise, of each message there, one after the other; returns what ends that."""

        async def take(message: "Msg") -> None:
            headers = message.headers
            if headers and "Status" in headers:
                told = headers["Status"], headers.get("Description", "")
                await heard(Heard(message.subject, message.reply, message.data, *told))
            else:
                await heard(Heard(message.subject, message.reply, message.data))

        subscription = await self._client.subscribe(subject, cb=take)

        async def stop() -> None:
            with suppress(Exception):
                await subscription.unsubscribe()

        return stop

    async def answer(self, subject: str, answer: Callable[[bytes], Awaitable[bytes | None]]) -> None:
        """Until cancelled: say what ``answer`` does to each message there; they come in the order of who sent them."""
        async with anyio.create_task_group() as tasks:

            async def reply(message: "Msg") -> None:
                try:
                    said = await answer(bytes(message.data))
                    if said is not None:
                        await self.say(message.reply, said)
                except (CdmdError, msgspec.MsgspecError):
                    return  # whoever hears nothing asks again; what nobody of ours sent has no answer

            async def heard(message: "Msg") -> None:
                tasks.start_soon(reply, message)

            subscription = await self._client.subscribe(subject, cb=heard)
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True), suppress(Exception), anyio.fail_after(_CLOSING):
                    await subscription.unsubscribe()

    async def _request(
        self, subject: str, payload: bytes, *, seconds: float, headers: Mapping[str, str] | None = None
    ) -> "Msg":
        if not self.connected:
            raise NotDurable("no NATS server can be reached", retry_after=2)
        nats = _library()
        try:
            return await self._client.request(subject, payload, timeout=seconds, headers=dict(headers) if headers else None)
        except nats.MaxPayloadError as error:
            raise NotDurable(
                f"{len(payload)} bytes are more than the NATS server's max_payload ({self.max_payload})"
            ) from error
        except nats.NoRespondersError as error:
            where = "for JetStream (is it on, and has it a leader?)" if subject.startswith("$JS.") else f"to {subject}"
            raise NotDurable(f"no NATS server answers {where}", retry_after=2) from error
        except (nats.Error, TimeoutError, OSError) as error:
            raise NotDurable(f"the NATS server did not answer ({type(error).__name__})", retry_after=2) from error


async def _connect(access: Access, name: str) -> "Client":
    nats, said = _library(), list[Exception]()
    client: Client = import_module("nats.aio.client").Client()

    async def note(error: Exception) -> None:
        """Whoever waits for an answer hears of it there; here the last of them, where nobody answers."""
        said[:] = [error]

    trust = await anyio.to_thread.run_sync(_trust, access) if access.authorities is not None else None
    try:
        with anyio.fail_after(_CONNECT * len(access.servers)):
            await client.connect(
                servers=list(access.servers),
                name=name,
                tls=trust,
                connect_timeout=_CONNECT,
                max_reconnect_attempts=-1,
                reconnect_to_server_handler=_again(access),
                ping_interval=5,
                max_outstanding_pings=2,
                error_cb=note,
                **_login(access),
            )
    except (nats.Error, TimeoutError, OSError, ValueError) as error:
        with suppress(Exception):
            await client.close()
        reason = said[-1] if said else error
        detail = str(reason).removeprefix("nats: ") or type(reason).__name__
        raise NotDurable(f"no NATS server takes us at {', '.join(access.servers)}: {detail}") from error
    return client


@cache
def _library() -> Any:
    """The client's errors; not before somebody connects: it takes a tenth of a second, and is an extra."""
    try:
        return import_module("nats.errors")
    except ImportError as error:
        raise CdmdError("the NATS client is not installed: pip install 'cdmd[cluster]'") from error


def _login(access: Access) -> dict[str, Any]:
    if access.username is not None and access.password is not None:
        return {"user": access.username, "password": access.password.reveal().decode()}
    return {"token": access.token.reveal().decode()} if access.token is not None else {}


def _trust(access: Access) -> ssl.SSLContext:
    given = access.authorities
    return ssl.create_default_context(cadata=None if given is None else given.reveal().decode())


def _again(access: Access) -> "Callable[[list[Server], dict[str, Any]], tuple[Server | None, float]]":
    """Configured servers in turn, and none that another one tells of."""
    turns = count()
    configured = {server.partition("://")[2] for server in access.servers}

    def choose(servers: "list[Server]", _info: dict[str, Any]) -> "tuple[Server | None, float]":
        ours = sorted((one for one in servers if one.uri.netloc in configured), key=lambda one: str(one.uri.netloc))
        return (ours[next(turns) % len(ours)] if ours else None), _PAUSE

    return choose
