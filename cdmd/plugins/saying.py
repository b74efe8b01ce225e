"""What a connector says of itself while it is live, read with care: it may have attributes of its own by these names.

One that raises, or that is not what the contract says, counts as not there: what is shown never ends the daemon. Not here: what
is looked at when a connector is made (``registry``).
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from cdmd.contracts import StreamFrame, StreamOutlook

_Value = TypeVar("_Value")


def fetches(connector: object) -> bool:
    """Whether one that could fetch does, as it is configured."""
    return _read(connector, "fetches", lambda found: found is not False, otherwise=True)


def streams(connector: object) -> Mapping[str, StreamFrame]:
    """Every stream by its name."""
    return _read(connector, "streams", _frames, otherwise={})


def outlook(connector: object) -> Sequence[StreamOutlook]:
    """When each stream is looked at."""
    return _read(connector, "outlook", lambda found: [_of(StreamOutlook, one) for one in found], otherwise=())


def to_fetch(connector: object) -> int:
    """How much was notified and is not fetched yet."""
    return _read(connector, "to_fetch", lambda found: _of(int, found), otherwise=0)


def waiting_since(connector: object, *, otherwise: datetime | None) -> datetime | None:
    """Since when the oldest of that waits; ``otherwise`` for one that does not say."""
    return _read(connector, "waiting_since", _moment, otherwise=otherwise)


def verifies(connector: object) -> bool:
    """Whether senders have to prove who they are."""
    return _read(connector, "verifies", lambda found: found is not False, otherwise=True)


def verified_by(connector: object) -> int | None:
    """The place, from 0, of the secret that the last one used."""
    return _read(connector, "verified_by", lambda found: None if found is None else _of(int, found), otherwise=None)


def _read(connector: object, name: str, of: Callable[[Any], _Value], *, otherwise: _Value) -> _Value:
    try:
        return of(getattr(connector, name))
    except Exception:  # noqa: BLE001 - an attribute of a plugin's is foreign code, and may be no such thing
        return otherwise


def _of(kind: type[_Value], found: object) -> _Value:
    if not isinstance(found, kind):
        raise TypeError(kind.__name__)
    return found


def _frames(found: Mapping[str, object]) -> Mapping[str, StreamFrame]:
    return {name: _of(StreamFrame, one) for name, one in found.items()}


def _moment(found: object) -> datetime | None:
    """Only one that knows its zone can be compared with now."""
    moment = None if found is None else _of(datetime, found)
    if moment is not None and moment.utcoffset() is None:
        raise ValueError("zone")
    return moment
