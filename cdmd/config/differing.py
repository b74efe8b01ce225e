"""What differs between two effective configurations, key by key. Pure; bounded by the configuration.

Secrets stand in them as their references, so nothing here tells one.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

MOST: Final = 500
_LONGEST: Final = 200


class Difference(NamedTuple):
    """One key that was added (``before`` is None), removed (``after`` is None) or changed; values as JSON, cut where long."""

    key: str
    before: str | None
    after: str | None


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """All of them by key; at most ``MOST``."""
    was, now = dict(_leaves(before)), dict(_leaves(after))
    changed = sorted(key for key in was.keys() | now.keys() if was.get(key) != now.get(key))
    return [Difference(key, _cut(was.get(key)), _cut(now.get(key))) for key in changed[:MOST]]


def _leaves(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        place = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, place)
        else:
            yield place, json.dumps(value, ensure_ascii=False, default=str)


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
