"""Extensions as they were written for hooks 1.0: async and plain, with every way to end, and the plugin's two life hooks."""

import pathlib

import cdmd

LOG: list[pathlib.Path] = []


@cdmd.extension(on="order.paid", timeout=2.0, on_failure="hold")
async def loyalty(event: cdmd.Event, context: cdmd.Context) -> cdmd.Event | None:
    number = event.identifiers.get("customer_no")
    if number is None:
        return None
    reply = await context.http.get(
        f"{context.settings['url']}/members/{number}", headers={"authorization": f"Bearer {context.settings['token']}"}, timeout=1.0
    )
    if reply.status_code == 404:
        raise cdmd.Drop("nobody we know")
    if reply.status_code == 503:
        raise cdmd.RetryLater(0.2)
    reply.raise_for_status()
    return event.enriched(loyalty=reply.json(), year=context.now.year)


@cdmd.extension(on=["order.refused", "order.odd.*"], on_failure="store", name="judge")
def judging(event: cdmd.Event, context: cdmd.Context) -> cdmd.Event | None:
    if event.data.get("odd"):
        raise cdmd.Reject("it is odd")
    if event.data.get("broken"):
        raise ValueError("broken")
    assert event.source == event.connector == "shop"
    assert event.received.tzinfo is not None
    return cdmd.Event(
        id=event.id,
        source=event.source,
        type=event.type,
        time=event.time,
        received=event.received,
        identifiers=event.identifiers,
        traits={**event.traits, "judged": True},
        data=event.data,
    )


@cdmd.hookimpl
def cdmd_extensions() -> list[cdmd.Extension]:
    return [loyalty, judging]


@cdmd.hookimpl
async def cdmd_startup(context: cdmd.Context) -> None:
    if "url" not in context.settings:
        raise cdmd.ConfigInvalid(["url: is missing"])
    LOG.append(pathlib.Path(context.settings["log"]))
    LOG[0].write_text("startup\n")


@cdmd.hookimpl
def cdmd_shutdown() -> None:
    with LOG[0].open("a") as log:
        log.write("shutdown\n")
