"""One stream of JetStream: made as it has to be, written with the place that is expected, read by number or subject, erased."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from cdmd.cluster.connection import NO_STREAM, Link, Message, Refused
from cdmd.contracts import JournalReplica
from cdmd.errors import CdmdError, NotDurable

_BYTES_ANY: Final = -1
ANY: Final = ">"
"""Whatever the subject."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """How a stream is made: its name and subjects, on how many servers it lies, how many bytes it may take (None: any).

    ``history``: how many messages of a subject are kept (-1: all).
    """

    name: str
    subjects: tuple[str, ...]
    replicas: int = 1
    max_bytes: int | None = None
    history: int = -1


class State(msgspec.Struct, frozen=True):
    """What a stream holds. An empty one has ``first_seq`` one above ``last_seq``."""

    messages: int = 0
    bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0
    subjects: Mapping[str, int] | None = None


class Peer(msgspec.Struct, frozen=True):
    """Another server that has the stream: whether it keeps up, and how many operations it is behind."""

    name: str = ""
    current: bool = False
    offline: bool = False
    lag: int = 0

    @property
    def copy(self) -> JournalReplica:
        """The same in the daemon's words."""
        return JournalReplica(server=self.name, current=self.current and not self.offline, lag=self.lag)


class Group(msgspec.Struct, frozen=True):
    """The servers that have the stream."""

    leader: str = ""
    replicas: tuple[Peer, ...] = ()


class _Config(msgspec.Struct, frozen=True):
    num_replicas: int = 1
    max_bytes: int = _BYTES_ANY
    subjects: tuple[str, ...] = ()


class Info(msgspec.Struct, frozen=True):
    """What a server says of a stream."""

    state: State = State()
    cluster: Group = Group()
    config: _Config = _Config()
    total: int = 0


class _Raw(msgspec.Struct, frozen=True):
    seq: int
    subject: str
    data: bytes = b""  # msgspec reads base64


class _Got(msgspec.Struct, frozen=True):
    message: _Raw


_SLACK: Final = 16_384


class Stream:
    """A stream with one subject or several. All methods raise ``NotDurable``."""

    def __init__(self, link: Link, shape: Shape) -> None:
        self.link, self.shape, self.name, self.subject = link, shape, shape.name, shape.subjects[0]

    @property
    def most(self) -> int:
        """Bytes that a message may have of what is to be said, beside what it is wrapped in."""
        return self.link.max_payload - _SLACK

    async def ensure(self) -> Info:
        """Make it, or bring it to its shape. Raises ``CdmdError`` where the servers cannot."""
        try:
            try:
                found = msgspec.json.decode(await self.link.ask(f"STREAM.INFO.{self.name}"), type=Info)
            except Refused as error:
                if error.fault.err_code != NO_STREAM:
                    raise
                return msgspec.json.decode(await self.link.ask(f"STREAM.CREATE.{self.name}", self._config()), type=Info)
            wanted = _Config(self.shape.replicas, self.shape.max_bytes or _BYTES_ANY, self.shape.subjects)
            if found.config == wanted:
                return found
            return msgspec.json.decode(await self.link.ask(f"STREAM.UPDATE.{self.name}", self._config()), type=Info)
        except Refused as error:
            raise CdmdError(f"the stream {self.name} cannot be made or changed: {error}") from error

    def _config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "subjects": self.shape.subjects,
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "max_bytes": self.shape.max_bytes or _BYTES_ANY,
            "max_msgs": -1,
            "max_msgs_per_subject": self.shape.history,
            "max_age": 0,
            "max_consumers": -1,
            "num_replicas": self.shape.replicas,
            "allow_direct": True,
            "duplicate_window": 120 * 10**9,
            "deny_delete": False,
            "deny_purge": False,
        }

    async def info(self) -> Info:
        """What it holds and where."""
        return msgspec.json.decode(await self.link.ask(f"STREAM.INFO.{self.name}"), type=Info)

    async def subjects(self, pattern: str) -> list[str]:
        """The subjects that have messages, of those that match."""
        found: list[str] = []
        while True:
            body = {"subjects_filter": pattern, "offset": len(found)}
            answer = msgspec.json.decode(await self.link.ask(f"STREAM.INFO.{self.name}", body), type=Info)
            page = answer.state.subjects or {}
            found += page
            if not page or len(found) >= answer.total:
                return found

    async def publish(self, subject: str, payload: bytes, *, headers: Mapping[str, str], hasty: bool = False) -> int | None:
        """See ``Link.publish``."""
        return await self.link.publish(subject, payload, headers={"Nats-Expected-Stream": self.name, **headers}, hasty=hasty)

    async def say(self, subject: str, payload: bytes, *, headers: dict[str, str]) -> None:
        """As ``publish``, but nobody is told what became of it, nor whether it came into this stream."""
        await self.link.say(subject, payload, headers=headers)

    async def get(self, seq: int) -> Message | None:
        """The message of that number; None where there is none."""
        return await self.link.direct(self.name, {"seq": seq}) or await self._got({"seq": seq})

    async def following(self, seq: int, subject: str = ANY) -> Message | None:
        """The first message from that number on, with that subject if one is given, as the leader has it."""
        return await self._got({"seq": seq, "next_by_subj": subject})

    async def last(self, subject: str = ANY) -> Message | None:
        """The last message, with that subject if one is given, as the leader has it."""
        return await self._got({"last_by_subj": subject})

    async def _got(self, body: Mapping[str, Any]) -> Message | None:
        try:
            raw = msgspec.json.decode(await self.link.ask(f"STREAM.MSG.GET.{self.name}", body), type=_Got).message
        except Refused as error:
            if error.gone:
                return None
            raise
        return Message(raw.seq, raw.subject, raw.data)

    async def erase(self, seq: int) -> None:
        """Overwrite and remove the message, if it is there."""
        try:
            await self.link.ask(f"STREAM.MSG.DELETE.{self.name}", {"seq": seq})
        except Refused as error:
            if not error.gone:
                raise

    async def purge(self, before: int) -> None:
        """Remove everything in front of that number."""
        await self.link.ask(f"STREAM.PURGE.{self.name}", {"seq": before})

    async def places(self, subject: str) -> list[int]:
        """The numbers of all messages with that subject, in order."""
        found = list[int]()
        while (one := await self.following(found[-1] + 1 if found else 1, subject)) is not None:
            found.append(one.seq)
        return found

    async def replace(self, subject: str, payload: bytes | None, *, places: Sequence[int] | None = None) -> int | None:
        """Let the subject have this message only (None: no message), and erase what it had; returns its number.

        ``places`` is what it had when it was decided (otherwise it is asked now). Where another message came behind those it
        stays, and ``NotDurable`` is raised.
        """
        had = await self.places(subject) if places is None else places
        kept = None
        if payload is not None:
            headers = {"Nats-Expected-Last-Subject-Sequence": str(had[-1] if had else 0), "Nats-Msg-Id": uuid.uuid4().hex}
            if (kept := await self.publish(subject, payload, headers=headers)) is None:
                raise NotDurable(f"a message of the stream {self.name} was exchanged by another daemon meanwhile")
        for seq in had:
            await self.erase(seq)
        return kept
