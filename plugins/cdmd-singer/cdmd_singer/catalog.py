"""Which streams a tap is to bring: its discovered catalog with those selected that are wanted. Pure."""

from collections.abc import Collection
from typing import Any


def names_of(catalog: dict[str, Any]) -> list[str]:
    """The streams it has."""
    return sorted(filter(None, map(_name, catalog.get("streams") or [])))


def select(catalog: dict[str, Any], wanted: Collection[str]) -> dict[str, Any]:
    """The same catalog with ``wanted`` selected and nothing else, in the words of old taps and of new ones.

    Fields that the tap itself leaves out or insists upon stay so; every other field of a wanted stream is selected.
    """
    return {**catalog, "streams": [_marked(one, selected=_name(one) in wanted) for one in catalog.get("streams") or []]}


def _name(stream: Any) -> str | None:
    found = stream.get("stream") or stream.get("tap_stream_id") if isinstance(stream, dict) else None
    return found if isinstance(found, str) else None


def _marked(stream: dict[str, Any], *, selected: bool) -> dict[str, Any]:
    entries = [one for one in stream.get("metadata") or [] if isinstance(one, dict)]
    if not any(one.get("breadcrumb") == [] for one in entries):
        entries = [{"breadcrumb": [], "metadata": {}}, *entries]
    schema = stream.get("schema")
    marked = {**schema, "selected": selected} if isinstance(schema, dict) else schema
    return {**stream, "selected": selected, "schema": marked, "metadata": [_entry(one, selected) for one in entries]}


def _entry(entry: dict[str, Any], selected: bool) -> dict[str, Any]:
    said = entry.get("metadata") or {}
    if entry.get("breadcrumb") == []:
        return {**entry, "metadata": {**said, "selected": selected}}
    open_to_choice = said.get("inclusion") not in {"automatic", "unsupported"} and "selected" not in said
    return {**entry, "metadata": {**said, "selected": True}} if selected and open_to_choice else entry
