"""A plugin that misbehaves on request: extensions and connectors by which the acceptance tests try the daemon's promises.

It is installed as the distribution ``cdmd-trial`` (module ``cdmd_trial``) by ``tests.acceptance.trial.install``, so it lives by
what ``import cdmd`` offers.
"""

import contextlib
import itertools
import logging
import sys
import threading
import time
from typing import Any, ClassVar, Literal

import anyio
import msgspec

import cdmd

BLOCKED_SECONDS = 3.0


@cdmd.extension(on="github.issues")
def weigh(event: cdmd.Event, context: cdmd.Context) -> cdmd.Event:
    """Enrich: runs in a thread."""
    return event.enriched(weight=len(event.data), asked=context.settings.get("word", "nobody"))


@cdmd.extension(on="trial.block", timeout=10.0)
async def block(event: cdmd.Event, context: cdmd.Context) -> None:
    time.sleep(BLOCKED_SECONDS)  # noqa: ASYNC251, TID251 - that is what it is for


@cdmd.extension(on="trial.hang", timeout=0.2, on_failure="store")
async def hang(event: cdmd.Event, context: cdmd.Context) -> None:
    while True:
        with contextlib.suppress(BaseException):  # it does not want to end
            await anyio.sleep_forever()


@cdmd.extension(on="trial.stick", timeout=0.2, on_failure="store")
def stick(event: cdmd.Event, context: cdmd.Context) -> None:
    """Never come back from a thread."""
    threading.Event().wait()


@cdmd.extension(on="trial.slow", timeout=60.0)
async def slow(event: cdmd.Event, context: cdmd.Context) -> None:
    await anyio.sleep_forever()


@cdmd.extension(on="trial.die", on_failure="store")
async def die(event: cdmd.Event, context: cdmd.Context) -> None:
    """Raise with everything it knows in its message, and log it too."""
    everything = f"{event!r} {dict(context.settings)!r}"
    logging.getLogger("trial").error("could not do %s", everything)
    raise ValueError(everything)


@cdmd.extension(on="trial.exit", on_failure="store")
async def leave(event: cdmd.Event, context: cdmd.Context) -> None:
    sys.exit(f"out of here: {event!r}")


@cdmd.extension(on="trial.flood", on_failure="store")
async def flood(event: cdmd.Event, context: cdmd.Context) -> cdmd.Event:
    return event.enriched(flood="x" * 8 * 2**20)


@cdmd.extension(on="trial.go", on_failure="reject", timeout=3.0)
async def go(event: cdmd.Event, context: cdmd.Context) -> cdmd.Event:
    """Go wherever the data says."""
    reply = await context.http.get(event.data["url"])
    return event.enriched(status=reply.status_code)


@cdmd.extension(on="trial.fetch", timeout=3.0)
async def fetch(event: cdmd.Event, context: cdmd.Context) -> cdmd.Event:
    """The same, and say what came of it."""
    try:
        return await go.function(event, context)
    except Exception as error:  # noqa: BLE001 - whatever it is, its class is what is asked for
        return event.enriched(refused=type(error).__name__)


@cdmd.extension(on="trial.drop")
async def drop(event: cdmd.Event, context: cdmd.Context) -> None:
    raise cdmd.Drop("nobody wants it")


@cdmd.extension(on="trial.reject")
async def reject(event: cdmd.Event, context: cdmd.Context) -> None:
    raise cdmd.Reject("it is no good")


@cdmd.extension(on="trial.later")
async def later(event: cdmd.Event, context: cdmd.Context) -> None:
    raise cdmd.RetryLater(3600)


class PullSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the connector does instead of its work."""

    behaviour: Literal["dies", "hangs", "floods", "returns", "exits"]


class Pull:
    """A pull connector."""

    Settings: ClassVar[type[msgspec.Struct]] = PullSettings
    type: ClassVar[str] = "trial"

    def __init__(self, name: str, settings: PullSettings) -> None:
        self._behaviour = settings.behaviour

    async def run(self, source: cdmd.Source) -> None:
        match self._behaviour:
            case "dies":
                raise RuntimeError("a connector's own words")
            case "hangs":
                await hang.function(None, None)
            case "exits":
                sys.exit("out of here")
            case "floods":
                for number in itertools.count():
                    await source.emit([_record(source, number * 500 + place) for place in range(500)])


def _record(source: cdmd.Source, number: int) -> cdmd.Record:
    return cdmd.Record(value={"n": number}, received=source.clock.now(), fallback_id=f"flood-{number}", type="flood")


class PushSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing to set."""


class Push:
    """A push connector that fails on every request, saying what was in it."""

    Settings: ClassVar[type[msgspec.Struct]] = PushSettings
    type: ClassVar[str] = "trial-push"

    def __init__(self, name: str, settings: PushSettings) -> None:
        self._route = cdmd.Route(path=f"/trial/{name}")

    @property
    def routes(self) -> list[cdmd.Route]:
        return [self._route]

    async def answer(self, request: cdmd.Request, source: cdmd.Source) -> cdmd.Answer:
        raise ValueError(f"{request!r}")


@cdmd.hookimpl
def cdmd_extensions() -> list[Any]:
    return [weigh, block, hang, stick, slow, die, leave, flood, go, fetch, drop, reject, later]


@cdmd.hookimpl
def cdmd_connectors() -> list[Any]:
    return [Pull, Push]
