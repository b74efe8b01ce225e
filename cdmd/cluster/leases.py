"""``Leases`` in a bucket of JetStream: a message for each name, exchanged only by who knows the one that is there.

A holder's own steady clock ends its lease, with a margin; whoever wants it has to have seen the same message for the lease's
length by their own clock. Times of two machines are never compared. The number of the message that was exchanged for a new
holder's is that holder's token, plus one: so a later one's is always greater.
"""

import uuid
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec
from typing_extensions import override

from cdmd.cluster.connection import Link
from cdmd.cluster.stream import Shape, Stream
from cdmd.contracts import Clock, Lease, Leases
from cdmd.errors import CdmdError

_MARGIN: Final = 0.1
"""Of a lease's length: more than two clocks differ in it, and than an answer takes."""


class _Held(msgspec.Struct, frozen=True):
    """What a name's message says; nobody has it where ``holder`` is empty."""

    holder: str = ""
    token: int = 0
    seconds: float = 0.0


class _Ours(NamedTuple):
    lease: Lease
    revision: int
    until: float


class JetStreamLeases(Leases):
    """``ensure`` it once. ``holder`` is what we are called; whoever comes back with the same name has its leases at once."""

    def __init__(self, link: Link, *, name: str, replicas: int, holder: str, clock: Clock) -> None:
        self._top = f"$KV.{name}_leases"
        shape = Shape(name=f"KV_{name}_leases", subjects=(f"{self._top}.>",), replicas=replicas, history=1)
        self._stream = Stream(link, shape)
        self._holder, self._clock = holder, clock
        self._ours: dict[str, _Ours] = {}
        self._seen: dict[str, tuple[int, float]] = {}

    async def ensure(self) -> None:
        """Make the bucket. Raises ``CdmdError``."""
        await self._stream.ensure()

    @override
    async def take(self, name: str, *, seconds: float) -> Lease | None:
        revision, found = await self._read(name)
        if found.holder not in {"", self._holder} and not self._gone(name, revision, found.seconds):
            return None
        lease = Lease(name=name, token=revision + 1, seconds=seconds)
        return lease if await self._put(lease, revision) else None

    @override
    async def renew(self, lease: Lease) -> Lease | None:
        ours = self._ours.get(lease.name)
        if ours is None or ours.lease != lease:
            return None
        if await self._put(lease, ours.revision):
            return lease
        # What was not acknowledged the last time may have been written all the same.
        try:
            revision, found = await self._read(lease.name)
        except CdmdError:
            self._ours.setdefault(lease.name, ours)  # nothing says that it is anybody else's
            raise
        return lease if found == self._held(lease) and await self._put(lease, revision) else None

    @override
    async def release(self, lease: Lease) -> None:
        ours = self._ours.get(lease.name)
        if ours is not None and ours.lease == lease:
            del self._ours[lease.name]
            await self._publish(lease.name, ours.revision, _Held())

    @override
    def holds(self, lease: Lease) -> bool:
        ours = self._ours.get(lease.name)
        return ours is not None and ours.lease == lease and self._clock.monotonic() < ours.until

    @override
    async def holders(self) -> Mapping[str, str]:
        found = {}
        for subject in await self._stream.subjects(f"{self._top}.>"):
            name = bytes.fromhex(subject.rpartition(".")[2]).decode()
            _, held = await self._read(name)
            if held.holder:
                found[name] = held.holder
        return found

    async def _read(self, name: str) -> tuple[int, _Held]:
        message = await self._stream.last(self._subject(name))
        return (message.seq, msgspec.json.decode(message.data, type=_Held)) if message is not None else (0, _Held())

    def _gone(self, name: str, revision: int, seconds: float) -> bool:
        """Whether nothing was heard of its holder for the lease's length, by our clock and from when we first looked."""
        now = self._clock.monotonic()
        seen, since = self._seen.get(name, (0, now))
        if seen != revision:
            since = now
        self._seen[name] = (revision, since)
        return now - since >= seconds

    async def _put(self, lease: Lease, revision: int) -> bool:
        """Whether the message is ours now; its time counts from before it was sent."""
        began = self._clock.monotonic()
        written = await self._publish(lease.name, revision, self._held(lease))
        if written is None:
            self._ours.pop(lease.name, None)
            return False
        self._ours[lease.name] = _Ours(lease, written, began + lease.seconds * (1 - _MARGIN))
        return True

    def _held(self, lease: Lease) -> _Held:
        return _Held(self._holder, lease.token, lease.seconds)

    async def _publish(self, name: str, revision: int, held: _Held) -> int | None:
        headers = {"Nats-Expected-Last-Subject-Sequence": str(revision), "Nats-Msg-Id": uuid.uuid4().hex}
        return await self._stream.publish(self._subject(name), msgspec.json.encode(held), headers=headers)

    def _subject(self, name: str) -> str:
        return f"{self._top}.{name.encode().hex()}"
