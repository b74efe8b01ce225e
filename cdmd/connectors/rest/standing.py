"""Where streams stand, shown to an administrator and moved by one: the shelf ``positions``.

It is moved only while the connector does not run: what a reader has in its hands would be written over it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cdmd.connectors.durable import durable
from cdmd.connectors.rest.positions import AHEAD, Place, Positions, Value, shown
from cdmd.connectors.rest.streams import Stream
from cdmd.contracts import Shelf, Source
from cdmd.errors import BadArguments, NotFound
from cdmd.models import to_micros

POSITIONS: Final = Shelf(kind="positions", commands=("set", "reset"))
"""Commands take names of streams, ``set`` each with its new position: ``contacts=2026-01-01T00:00:00Z``."""


async def rows(streams: Mapping[str, Stream], source: Source) -> list[dict[str, Any]]:
    """A row for each stream that has a place of its own: children ask about their parents' records."""
    return [await _row(stream, source) for stream in streams.values() if stream.settings.parent is None]


async def move(streams: Mapping[str, Stream], source: Source, command: str, names: Sequence[str]) -> int:
    """Let them go on elsewhere, all in one commit; how many. Raises ``NotFound`` and ``BadArguments``, and changes nothing."""
    state: dict[bytes, bytes | None] = {}
    for name in names:
        found, _, text = name.partition("=")
        stream = _of(streams, found)
        place = Place() if command == "reset" else _at(stream, text, now=to_micros(source.clock.now()))
        state |= {stream.key: None if place == Place() else stream.written(place), stream.job: None}
    await durable(source, [], state)
    return len(names)


async def _row(stream: Stream, source: Source) -> dict[str, Any]:
    kept = await source.get([stream.key, stream.job])
    place = stream.read(kept.get(stream.key))
    waits = stream.job in kept
    return {
        "name": stream.name,
        "state": "exports" if waits else "new" if place == Place() else "known",
        "position": shown(place, stream.positions),
        "asks_from": _asked(stream.positions, place),
    }


def _asked(positions: Positions | None, place: Place) -> str | None:
    """What the next look asks from, as it says it; None where it asks for all."""
    since = None if positions is None or place.kept is not None else positions.since(place.position)
    return None if positions is None or since is None else str(positions.written(since))


def _of(streams: Mapping[str, Stream], name: str) -> Stream:
    stream = streams.get(name)
    if stream is None:
        raise NotFound(f"there is no stream {name!r}; there are: {', '.join(streams)}")
    if stream.settings.parent is not None:
        raise BadArguments(f"{name} has no position: it asks about each new record of {stream.settings.parent.stream}")
    return stream


def _at(stream: Stream, text: str, *, now: int) -> Place:
    positions = stream.positions
    if positions is None or not stream.asks_since:
        raise BadArguments(f"{stream.name} does not ask from a position on (`since`): it can only be reset")
    try:
        value: Value = positions.parsed(text)
    except ValueError as error:
        raise BadArguments(f"{stream.name} cannot stand at {text!r}: {error}") from None
    if positions.timed and not isinstance(value, str) and value > now + AHEAD:
        raise BadArguments(f"{stream.name} cannot stand at {text!r}: that is in the future")
    return Place(position=value, kind=positions.kind)
