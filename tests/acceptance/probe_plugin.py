"""A plugin that brings one of everything: a connector that fetches, one that is told, an extension, a command, both hooks.

It imports only ``cdmd`` and what is not ours, as a plugin does; ``test_plugin_connectors`` installs it.
"""

import time
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import click
import msgspec

import cdmd


class TickerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    first: int = 1
    counted: str = "ticks"


class Ticker:
    """Emits one record a look, with its position beside it, and then idles for an hour."""

    Settings: ClassVar[type[msgspec.Struct]] = TickerSettings
    type: ClassVar[str] = "ticker"

    def __init__(self, name: str, settings: TickerSettings) -> None:
        self._settings = settings

    async def run(self, source: cdmd.Source) -> None:
        while True:
            kept = await source.get([b"next"])
            number = int(kept.get(b"next", str(self._settings.first)))
            value = {"type": "tick", "identifiers": {"email": "joe@example.com"}, "traits": {self._settings.counted: number}}
            record = cdmd.Record(value=value, received=source.clock.now(), fallback_id=f"tick-{number}")
            verdicts = await source.emit([record], state={b"next": str(number + 1).encode(), b"seen/%d" % number: b"1"})
            if not isinstance(verdicts[0], cdmd.Accepted):
                raise TypeError("refused")
            seen = [key async for key, _ in source.scan(b"seen/")]
            await source.idle(source.clock.now() + timedelta(hours=1), f"{len(seen)} looks so far")


class BellSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    token: cdmd.Secret


class Bell:
    """Takes a name as plain text."""

    Settings: ClassVar[type[msgspec.Struct]] = BellSettings
    type: ClassVar[str] = "bell"

    def __init__(self, name: str, settings: BellSettings) -> None:
        self._token = settings.token
        self.routes = [cdmd.Route(path=f"/bells/{name}", methods=("POST", "PUT"), max_body=100)]

    async def answer(self, request: cdmd.Request, source: cdmd.Source) -> cdmd.Answer:
        if (request.header("x-token") or "").encode() != self._token.reveal():
            source.refuse(1, "token")
            return cdmd.Answer(status=401)
        value = {"type": "bell.rung", "identifiers": {"email": request.body.decode()}}
        record = cdmd.Record(value=value, received=request.received, fallback_id=request.body.hex())
        verdicts = await source.emit([record])
        return cdmd.Answer(body=type(verdicts[0]).__name__.encode(), headers=[("content-type", "text/plain")])


@cdmd.extension(on=["bell.*", "tick"], on_failure="store")
def stamped(event: cdmd.Event, context: cdmd.Context) -> cdmd.Event | None:
    """A plain function: it may block, because it runs in a thread."""
    time.sleep(0.01)  # noqa: TID251 - that is the point
    if event.identifiers["email"].startswith("drop"):
        raise cdmd.Drop("not wanted")
    if event.identifiers["email"].startswith("reject"):
        raise cdmd.Reject("not right")
    return event.enriched(stamp=context.settings["stamp"])


@click.command("ring")
def ring() -> None:
    """Ring."""
    click.echo("rung")


def _note(text: str) -> None:
    with Path("probe.log").open("a") as log:
        log.write(text + "\n")


class Own(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    stamp: str = "none"


@cdmd.hookimpl
def cdmd_settings() -> type[Own]:
    return Own


@cdmd.hookimpl
def cdmd_connectors() -> list[Any]:
    return [Ticker, Bell]


@cdmd.hookimpl
def cdmd_extensions() -> list[Any]:
    return [stamped]


@cdmd.hookimpl
def cdmd_commands() -> list[click.Command]:
    return [ring]


@cdmd.hookimpl
def cdmd_formats() -> list[Any]:
    return []


@cdmd.hookimpl
async def cdmd_startup() -> None:
    _note("startup")


@cdmd.hookimpl
def cdmd_shutdown() -> None:
    _note("shutdown")
