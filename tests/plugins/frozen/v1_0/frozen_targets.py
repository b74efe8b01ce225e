"""Targets as they were written for hooks 1.0: one that is handed deliveries, one that takes them when its time has come."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar

import msgspec

import cdmd


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: str


class Handed:
    """Posts each batch as a list."""

    Settings: ClassVar[type[msgspec.Struct]] = Settings
    type: ClassVar[str] = "frozen-handed"
    batch = 5

    def __init__(self, name: str, settings: Settings) -> None:
        self.settings = settings

    async def deliver(self, deliveries: Sequence[cdmd.Delivery], outlet: cdmd.Outlet) -> Sequence[Any]:
        content = msgspec.json.encode([{"id": one.id, "type": one.type, "target": one.target} for one in deliveries])
        try:
            answer = await outlet.send(self.settings.url, headers={"content-type": "application/json"}, content=content)
        except cdmd.RequestFailed as error:
            return [cdmd.Later(reason=str(error))] * len(deliveries)
        if answer.status_code == 410:
            return [cdmd.Gone(reason="it is no more")] * len(deliveries)
        if answer.status_code == 400:
            return [cdmd.Never(reason="it will not have it")] * len(deliveries)
        return [cdmd.Delivered(answer.status_code)] * len(deliveries)


class Taking:
    """Takes what waits, posts it, and rests."""

    Settings: ClassVar[type[msgspec.Struct]] = Settings
    type: ClassVar[str] = "frozen-taking"

    def __init__(self, name: str, settings: Settings) -> None:
        self.settings = settings

    async def run(self, outlet: cdmd.Outlet) -> None:
        while True:
            waiting = await outlet.waiting(limit=100)
            if waiting:
                reply = await outlet.http.post(self.settings.url, json=[one.type for one in waiting])
                await outlet.put("status", str(reply.status_code))
                assert await outlet.get("status") == str(reply.status_code)
                await outlet.settle(waiting, cdmd.Delivered(reply.status_code), seconds=0.1)
            await outlet.idle(outlet.clock.now() + timedelta(seconds=0.2), "the next time")


@cdmd.hookimpl
def cdmd_targets() -> list[type[cdmd.Target]]:
    return [Handed, Taking]
