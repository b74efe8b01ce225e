"""Which settings have to be the same on all daemons that apply one journal, and in which of them two differ. Pure.

What decides what becomes of an event: who is who, what is computed of it, whom it is told, and which plugins have their say.
Each is known to the others by its place and a digest, so that none is shown, and of secrets not even the reference counts.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from cdmd.config.schema import Config
from cdmd.config.secrets import LITERAL, PREFIXES
from cdmd.config.together import grouped

_WHOLE: Final = ("identity", "traits", "indicators", "audiences", "privacy", "parked", "dedupe")
_JOURNAL: Final = ("partitions", "name")
_CONNECTOR: Final = ("known_only", "reconcile", "was")
_TARGET: Final = ("type", "events", "where", "fields", "audience")
_DEEP: Final = 3
"""So many names make a place: ``indicators.tv_hours.window``."""
_MOST: Final = 12


def digests(config: Config, plugins: Mapping[str, str]) -> dict[str, str]:
    """A digest for each place. ``plugins`` are those that are there, with their versions."""
    shown = config.effective
    chosen: dict[str, Any] = {name: shown.get(name, {}) for name in _WHOLE}
    chosen["journal"] = _only(shown.get("journal", {}), _JOURNAL)
    for table, keys in (("connectors", _CONNECTOR), ("targets", _TARGET)):
        chosen[table] = {name: _only(one, keys) for name, one in shown.get(table, {}).items()}
    for together in grouped(config.connectors.values()):
        for name in together if len(together) > 1 else ():
            chosen["connectors"].setdefault(name, {})["host"] = together  # they are one node's, or asked by two at a time
    chosen["plugins"] = {name: {"version": version, **_open(shown, name)} for name, version in plugins.items()}
    return {place: _digest(value) for place, value in _places(chosen)}


def whole(found: Mapping[str, str]) -> str:
    """One digest of all."""
    return _digest(sorted(found.items()))


def differing(mine: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """The places where they are not the same."""
    return sorted(place for place in mine.keys() | theirs.keys() if mine.get(place) != theirs.get(place))


def sentence(places: Sequence[str]) -> str:
    """These places, not too many of them."""
    rest = len(places) - _MOST
    return ", ".join(places[:_MOST]) + (f" and {rest} more" if rest > 0 else "")


def _open(shown: Mapping[str, Any], plugin: str) -> dict[str, Any]:
    """A plugin's own settings, but for what stands for a secret: each machine keeps those where it likes."""
    found: dict[str, Any] = _without_secrets(shown.get("plugins", {}).get(plugin, {}))
    return found


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_secrets(one) for name, one in value.items() if not _is_secret(one)}
    if isinstance(value, list):
        return [_without_secrets(one) for one in value if not _is_secret(one)]
    return value


def _is_secret(value: Any) -> bool:
    return value == LITERAL or (isinstance(value, str) and value.startswith(PREFIXES))


def _only(table: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: table[key] for key in keys if key in table}


def _places(table: Mapping[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        path = (*before, str(name))
        if isinstance(value, Mapping) and len(path) < _DEEP:
            yield from _places(value, path)
        else:
            yield ".".join(path), value


def _digest(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
