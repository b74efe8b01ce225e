"""What waits for targets, in plain lists, and targets that remember what was done to them."""

from datetime import datetime
from typing import Any

import msgspec

from cdmd.contracts import AttemptFilter
from cdmd.control.target_shapes import TargetRow, Tried
from cdmd.errors import BadArguments, NotFound
from cdmd.kit.ulid import ulid
from cdmd.models import Attempt, Delivery, Micros, ProfileKey, Queued, Seq


class MemoryOutbox:
    def __init__(self) -> None:
        self.queued: list[Queued] = []
        self.tried: list[Attempt] = []

    async def listed(self, *, target: str | None, failed: bool | None, limit: int) -> list[Queued]:
        found = [one for one in self.queued if target in {None, one.delivery.target}]
        return [one for one in found if failed is None or (one.failed is not None) is failed][:limit]

    async def find(self, first: str, last: str) -> list[Queued]:
        return [one for one in self.queued if first <= one.delivery.id <= last]

    async def retry(self, *, target: str | None, id: str | None, limit: int, now: Micros) -> int:
        mine = [one for one in self.queued if target in {None, one.delivery.target} and id in {None, one.delivery.id}]
        return len([one for one in mine if one.failed is not None or (one.due or 0) > now])

    async def attempts(self, which: AttemptFilter) -> list[Attempt]:
        first, last = which.ids or ("", "~")
        found = [one for one in self.tried if first <= one.id <= last and which.target in {None, one.target}]
        return [one for one in found if which.outcome in {None, one.outcome}][: which.limit]


class MemoryTargets:
    """One target, ``crm``; ``gone`` left the configuration; ``nightly`` waits for a time."""

    def __init__(self, done: list[tuple[Any, ...]]) -> None:
        self.done = done
        self.verdict = Tried(target="crm", outcome="delivered", status=204, seconds=0.01)

    async def rows(self) -> list[TargetRow]:
        return [
            TargetRow(name="crm", type="webhook", state="failing", reason="it answers with status 500", waiting=3, untold=1,
                      fault="a value is missing", full_since=datetime.fromisoformat("2026-11-23T10:00:00Z")),
            TargetRow(name="gone", state="gone"),
        ]  # fmt: skip

    def _known(self, name: str) -> None:
        if name not in {"crm", "nightly"}:
            raise NotFound(f"there is no target {name!r}; configured are: crm, nightly")

    async def enable(self, name: str) -> str | None:
        self._known(name)
        self.done.append(("enable", name))
        return None

    async def disable(self, name: str) -> None:
        self._known(name)
        self.done.append(("disable", name))

    async def attempt(self, name: str) -> Tried:
        self._known(name)
        if name == "nightly":
            raise BadArguments("nightly is not sent to at once")
        self.done.append(("test", name))
        return self.verdict

    def hurry(self, name: str | None) -> None:
        self.done.append(("hurry", name))

    async def send(self, name: str) -> None:
        self._known(name)
        self.done.append(("send", name))

    async def forget(self, name: str) -> int:
        if name != "gone":
            raise BadArguments(f"{name} is configured")
        self.done.append(("forget", name))
        return 2

    async def stop_replay(self, name: str) -> int:
        self._known(name)
        self.done.append(("stop", name))
        return 3

    async def would_replay(self, name: str, **_: Any) -> int:
        self._known(name)
        return 7

    async def replay(self, name: str, **said: Any) -> None:
        self._known(name)
        self.done.append(("replay", name, said["since"], said["until"], said["types"] and said["types"].patterns, said["rate"]))


def outgoing(outbox: MemoryOutbox, *, at: int, seq: int = 1) -> tuple[str, str]:
    """An event's delivery that was made, and one that was set aside; their ids."""
    sent, kept = ulid(at, bytes(9) + b"1"), ulid(at, bytes(9) + b"2")
    body = msgspec.json.encode({"type": "order.paid", "data": {"event": {"id": "canary"}}})
    delivery = Delivery(
        id=kept, target="crm", type="order.paid", at=Micros(at), body=body, profile=ProfileKey(1), seq=Seq(seq), n=2,
        attempts=10, since=Micros(at),
    )  # fmt: skip
    outbox.queued.append(Queued(delivery=delivery, failed=Micros(at), reason="it answers with status 500"))
    for name, outcome, said in ((kept, "later", "it answers with status 500"), (sent, "delivered", "")):
        outbox.tried.append(
            Attempt(at=Micros(at), target="crm", id=name, type="order.paid", attempt=1, outcome=outcome, seq=Seq(seq),
                    reason=said, seconds=0.05, status=500 if said else 204, body=body, answer=b"canary \xff")
        )  # fmt: skip
    return sent, kept
