"""Connectors as they were written for hooks 1.0: one that fetches, one that is told, one that decides at once."""

from datetime import timedelta
from typing import Any, ClassVar

import msgspec

import cdmd


class PullSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: str
    every: cdmd.Duration = cdmd.Duration.parse("1h")
    largest: cdmd.Size = cdmd.Size.parse("1MiB")


class Pull:
    """Asks for what is new behind the last one it has."""

    Settings: ClassVar[type[msgspec.Struct]] = PullSettings
    type: ClassVar[str] = "frozen-pull"

    def __init__(self, name: str, settings: PullSettings) -> None:
        if not settings.url.startswith("http"):
            raise cdmd.ConfigInvalid([f"connectors.{name}.url: is no address"])
        self.settings = settings

    async def run(self, source: cdmd.Source) -> None:
        while True:
            known = (await source.get([b"last"])).get(b"last", b"0").decode()
            source.working("asking")
            try:
                reply = await source.http.get(self.settings.url, params={"after": known})
            except cdmd.RequestFailed as error:
                raise cdmd.SourceUnavailable("it cannot be reached") from error
            if reply.status_code == 403:
                raise cdmd.SourceBlocked("the token is refused: make another")
            rows = reply.json()
            if rows:
                records = [
                    cdmd.Record(value=row, received=source.clock.now(), fallback_id=str(row["id"]), type="frozen.pulled")
                    for row in rows
                ]
                state = {b"last": str(rows[-1]["id"]).encode(), b"seen/%d" % rows[-1]["id"]: b"1"}
                verdicts = await source.emit(records, state=state)
                assert all(isinstance(one, cdmd.Accepted | cdmd.Filtered | cdmd.Rejected) for one in verdicts)
            seen = [key async for key, _ in source.scan(b"seen/")]
            source.working(None)
            await source.idle(source.clock.now() + timedelta(seconds=self.settings.every.seconds), f"{len(seen)} looks")


class PushSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    token: cdmd.Secret


class Push:
    """Takes one record a request, from whoever has the token."""

    Settings: ClassVar[type[msgspec.Struct]] = PushSettings
    type: ClassVar[str] = "frozen-push"

    def __init__(self, name: str, settings: PushSettings) -> None:
        self.token = settings.token
        self.routes = [cdmd.Route(path=f"/frozen/{name}", methods=("POST",), max_body=10_000)]

    async def answer(self, request: cdmd.Request, source: cdmd.Source) -> cdmd.Answer:
        if (request.header("authorization") or "").encode() != b"Bearer " + self.token.reveal():
            source.refuse(1, "token")
            return cdmd.Answer(status=401)
        value = msgspec.json.decode(request.body)
        record = cdmd.Record(value=value, received=request.received, fallback_id=value["id"], type="frozen.pushed")
        (verdict,) = await source.emit([record])
        return cdmd.Answer(status=200, body=type(verdict).__name__.encode(), headers=[("content-type", "text/plain")])


class Deciding(Push):
    """The same without a task for each request."""

    type: ClassVar[str] = "frozen-deciding"

    def decide(self, request: cdmd.Request, source: cdmd.Source) -> cdmd.Answer | cdmd.Emission | None:
        if request.header("x-slow"):
            return None
        value: Any = msgspec.json.decode(request.body)
        record = cdmd.Record(value=value, received=request.received, fallback_id=value["id"], type="frozen.decided")
        return cdmd.Emission(records=[record], answer=lambda verdicts: cdmd.Answer(body=type(verdicts[0]).__name__.encode()))


@cdmd.hookimpl
def cdmd_connectors() -> list[type[cdmd.Connector]]:
    return [Pull, Push, Deciding]
