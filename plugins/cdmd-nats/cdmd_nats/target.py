"""The target: each delivery is a message. JetStream says that it has it, and knows a repeat by its id."""

import re
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import ClassVar, Final, TypeAlias

import anyio
import msgspec
import nats.errors
from nats.aio.client import Client
from nats.js.errors import APIError, NoStreamResponseError

import cdmd
from cdmd_nats.connection import connected, denied
from cdmd_nats.settings import NatsTargetSettings, is_one_subject, target_problems

_PATIENCE: Final = 5.0
_MOST_DENIED: Final = 10_000
_PUBLISH: Final = re.compile(r'publish to "(.*)"')
Verdict: TypeAlias = cdmd.Delivered | cdmd.Later | cdmd.Never


class NatsTarget:
    """Publishes to ``subject``; the delivery's id is the message's ``Nats-Msg-Id``."""

    Settings: ClassVar[type[msgspec.Struct]] = NatsTargetSettings
    type: ClassVar[str] = "nats"

    def __init__(self, name: str, settings: NatsTargetSettings) -> None:
        if found := target_problems(settings):
            raise cdmd.ConfigInvalid([f"targets.{name}.{problem}" for problem in found])
        self._settings, self.batch = settings, settings.batch
        self._open: AsyncExitStack | None = None
        self._client: Client | None = None
        self._connecting = anyio.Lock()
        self._denials: OrderedDict[str, int] = OrderedDict()
        self._denied = 0

    async def deliver(self, deliveries: Sequence[cdmd.Delivery], outlet: cdmd.Outlet) -> Sequence[Verdict]:
        """All of them on one connection; a verdict for each."""
        try:
            client = await self._connected(outlet)
        except cdmd.SourceUnavailable as error:
            return [cdmd.Later(reason=str(error), holds=True) for _ in deliveries]
        verdicts: list[Verdict] = [cdmd.Later(reason="it was not sent")] * len(deliveries)

        async def send(place: int, one: cdmd.Delivery) -> None:
            verdicts[place] = await self._publish(client, one)

        async with anyio.create_task_group() as tasks:
            for place, one in enumerate(deliveries):
                tasks.start_soon(partial(send, place, one))
        return verdicts

    async def _publish(self, client: Client, one: cdmd.Delivery) -> Verdict:
        subject, headers = self._settings.subject.replace("{type}", one.type), {"Nats-Msg-Id": one.id}
        if not is_one_subject(subject):
            return cdmd.Never(reason="its type makes no subject of NATS: empty parts, wildcards and spaces are none")
        if len(one.body) > client.max_payload:
            return cdmd.Never(reason=f"it is larger than the {client.max_payload} bytes that the server takes")
        before = self._denied
        try:
            if self._settings.jetstream:
                await client.jetstream(timeout=_PATIENCE).publish(subject, one.body, headers=headers)
            else:
                await client.publish(subject, one.body, headers=headers)
                for _ in range(2):  # the first may be asked before the message is written, the second is behind it
                    await client.flush(round(_PATIENCE))
        except NoStreamResponseError:
            return cdmd.Later(
                reason=f"no stream of NATS takes {self._settings.subject}: make one, or write jetstream = false", holds=True
            )
        except (nats.errors.Error, APIError, OSError, TimeoutError) as error:
            return self._refused(subject, before) or cdmd.Later(reason=f"NATS did not take it ({type(error).__name__})")
        return self._refused(subject, before) or cdmd.Delivered()

    def _refused(self, subject: str, before: int) -> Verdict | None:
        """Where the server has said since that it does not take the message: before it answers what came behind that."""
        if self._denials.get(subject.lower(), 0) <= before:
            return None
        return cdmd.Later(reason=f"NATS does not let this login publish to {self._settings.subject} (permissions)", holds=True)

    def _told(self, said: Exception) -> None:
        """Each subject that is denied has the number of its last denial."""
        if (subject := _PUBLISH.search(denied(said) or "")) is not None:
            self._denied += 1
            self._denials[subject[1]] = self._denied
            self._denials.move_to_end(subject[1])
            while len(self._denials) > _MOST_DENIED:
                self._denials.popitem(last=False)

    async def _connected(self, outlet: cdmd.Outlet) -> Client:
        async with self._connecting:
            if self._client is not None and self._client.is_connected:
                return self._client
            if self._open is not None:
                await self._open.aclose()
            self._open = AsyncExitStack()
            self._client = await self._open.enter_async_context(connected(self._settings, outlet, self._told))
            return self._client
