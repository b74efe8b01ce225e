"""A connector that holds the loop up, one that raises what Ctrl-C raises, and targets that do not keep to their contract."""

import time
from typing import ClassVar

import anyio
import msgspec

import cdmd


class Nothing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing to set."""


class Sleeper:
    """Sleeps in the loop."""

    Settings: ClassVar[type[msgspec.Struct]] = Nothing
    type: ClassVar[str] = "sleeper"

    def __init__(self, name: str, settings: Nothing) -> None:
        self.name = name

    async def run(self, source: cdmd.Source) -> None:
        time.sleep(0.9)
        await anyio.sleep_forever()


class Interrupter:
    """Raises what Ctrl-C raises, and answers so."""

    Settings: ClassVar[type[msgspec.Struct]] = Nothing
    type: ClassVar[str] = "interrupter"

    def __init__(self, name: str, settings: Nothing) -> None:
        self.routes = [cdmd.Route(path=f"/{name}")]

    async def run(self, source: cdmd.Source) -> None:
        raise KeyboardInterrupt("joe@example.com")

    async def answer(self, request: cdmd.Request, source: cdmd.Source) -> cdmd.Answer:
        raise KeyboardInterrupt("joe@example.com")


class Decider:
    """Raises what ``sys.exit`` raises instead of deciding."""

    Settings: ClassVar[type[msgspec.Struct]] = Nothing
    type: ClassVar[str] = "decider"

    def __init__(self, name: str, settings: Nothing) -> None:
        self.routes = [cdmd.Route(path=f"/{name}")]

    def decide(self, request: cdmd.Request, source: cdmd.Source) -> cdmd.Answer:
        raise SystemExit("joe@example.com")

    async def answer(self, request: cdmd.Request, source: cdmd.Source) -> cdmd.Answer:
        return cdmd.Answer()


class Deaf:
    """A target that raises what Ctrl-C raises."""

    Settings: ClassVar[type[msgspec.Struct]] = Nothing
    type: ClassVar[str] = "deaf"
    batch = 10

    def __init__(self, name: str, settings: Nothing) -> None:
        self.name = name

    async def deliver(self, deliveries, outlet):
        raise KeyboardInterrupt("joe@example.com")


class Liar(Deaf):
    """A target that says something else of its deliveries."""

    type: ClassVar[str] = "liar"

    async def deliver(self, deliveries, outlet):
        self.turn = getattr(self, "turn", -1) + 1
        return [None, 5, ["joe@example.com"] * len(deliveries), [], [cdmd.Delivered] * len(deliveries)][self.turn % 5]


@cdmd.hookimpl
def cdmd_connectors():
    return [Sleeper, Interrupter, Decider]


@cdmd.hookimpl
def cdmd_targets():
    return [Deaf, Liar]
