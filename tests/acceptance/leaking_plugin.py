"""A plugin that keeps a megabyte of every event, and makes the daemon look for such things at once."""

import cdmd
from cdmd.daemon import parts
from cdmd.extensions.leakwatch import LeakLimits

MIB = 2**20
parts.LEAK_LIMITS = LeakLimits(  # type: ignore[misc]
    warm_up=0.5, every=0.1, least=16 * MIB, share=0.0, enough=8 * MIB, trace=2.0, pause=600.0
)
KEPT: list[bytes] = []


def keep(event: cdmd.Event) -> None:
    KEPT.append(bytes([len(event.id) % 256]) * MIB)


@cdmd.extension(on="leak.*")
async def leaks(event: cdmd.Event, context: cdmd.Context) -> None:
    keep(event)


@cdmd.extension(on="leak.*", name="busy")
async def busy(event: cdmd.Event, context: cdmd.Context) -> cdmd.Event:
    return event.enriched(text="x" * 100_000)


@cdmd.hookimpl
def cdmd_extensions() -> list[cdmd.Extension]:
    return [leaks, busy]
