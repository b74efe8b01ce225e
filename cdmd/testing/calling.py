"""Calls an extension once as the daemon would: under its deadline, with its answer checked, and its failures as verdicts."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import anyio
import msgspec

from cdmd.contracts import Clock, Extension
from cdmd.extensions import Extensions, Registered
from cdmd.kit.steadfast import steadfast
from cdmd.models import Apply, Bury, Discard, Event, Hold, Outcome
from cdmd.testing.clock import ManualClock
from cdmd.testing.context import extension_context


class Called(NamedTuple):
    """What came of a call.

    ``event`` is as it would be stored. ``outcome`` is ``extended``, ``unchanged``, ``dropped``, ``rejected``, ``later``, or
    ``failed: `` with the reason that administrators see; ``stored``, ``held``, ``filtered`` or ``dead`` what becomes of it.
    """

    event: Event
    outcome: str
    then: str


def make_event(type: str, *, id: str = "1", source: str = "shop", received: datetime | None = None, **fields: Any) -> Event:  # noqa: A002 - the event's own words
    """An event as a mapping would have made it: ``make_event("order.paid", identifiers={...}, data={...})``."""
    return Event(id=id, source=source, type=type, received=received or ManualClock().now(), **fields)


def call_extension(
    extension: Extension,
    event: Event,
    settings: Mapping[str, Any] = {},
    *,
    declared: type[msgspec.Struct] | None = None,
    clock: Clock | None = None,
) -> Called:
    """Call it once; ``settings`` and ``declared`` as for ``extension_context``. Not from within an event loop."""
    return anyio.run(_call, extension, event, settings, declared, clock, backend_options=steadfast(lambda error: None))


async def _call(
    extension: Extension,
    event: Event,
    settings: Mapping[str, Any],
    declared: type[msgspec.Struct] | None,
    clock: Clock | None,
) -> Called:
    used = clock or ManualClock()
    async with (
        extension_context(settings, declared=declared, clock=used) as context,
        Extensions([Registered("test", extension, context)], clock=used) as extensions,
    ):
        after, outcome, visits = await extensions.run(event)
    return Called(after, visits[0].outcome if visits else "not called: its types are others", _then(outcome))


def _then(outcome: Outcome) -> str:
    match outcome:
        case Apply():
            return "stored"
        case Hold():
            return "held"
        case Discard():
            return "filtered"
        case Bury():
            return "dead"
