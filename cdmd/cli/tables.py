"""The rows of a status as tables: connectors and their streams, targets, plugins. Commands and the live screen share them."""

from collections.abc import Mapping
from typing import Any, Final

from cdmd.cli.drawing import Table
from cdmd.cli.terminal import span
from cdmd.control.remarks import REMARKS
from cdmd.kit.measures import size

_MOST_REASONS: Final = 4
_MOST_BROUGHT: Final = 4
_OPTIONAL: Final = (
    "last event",
    "type",
    "filtered",
    "duplicates",
    "refused",
    "received",
    "parked",
    "freshness",
    "backlog",
    "accepted",
    "dead letters",
)
"""Columns of connectors that a narrow terminal does without, in that order."""


def connector_table(rows: list[Mapping[str, Any]]) -> Table:
    """Connectors with what they took and what became of it."""
    counters = ("received", "refused", "filtered", "accepted", "duplicates", "dead_letters", "parked", "backlog")
    headers = ("name", "type", "state", "freshness", *(name.replace("_", " ") for name in counters), "last event", "remark")
    return Table("connectors", headers, [_connector(row, counters) for row in rows], _OPTIONAL)


def stream_table(rows: list[Mapping[str, Any]]) -> Table:
    """Streams with when they are looked at next, and why then."""
    headers = ("stream", "freshness", "last look", "next look", "why then")
    shown = [
        [f"{row['name']}.{one['name']}", _freshness(one), one["looked"], one["next"], _why(one)]
        for row in rows
        for one in row["streams"]
    ]
    return Table("streams", headers, shown, ("last look", "freshness"))


def _freshness(row: Mapping[str, Any]) -> str:
    objective = row["freshness_objective_seconds"]
    return span(row["freshness_seconds"]) + ("" if objective is None else f" of {span(objective)}")


def _why(stream: Mapping[str, Any]) -> str | None:
    return "; ".join(filter(None, (stream["why"], stream["shortfall"]))) or None


def _connector(row: Mapping[str, Any], counters: tuple[str, ...]) -> list[Any]:
    counted = [f"{row[name]} {name.replace('_', ' ')}" for name in REMARKS if row.get(name)]
    refused = ", ".join(f"{reason} {count}" for reason, count in list(row.get("refusals", {}).items())[:_MOST_REASONS])
    told = [row["error"] or row["detail"], *counted, f"refused since the start: {refused}" if refused else None]
    remark = "; ".join(filter(None, told)) or None
    return [
        row["name"],
        row["type"],
        row["state"],
        _freshness(row),
        *(row[name] for name in counters),
        row["last_event"],
        remark,
    ]


def target_table(rows: list[Mapping[str, Any]]) -> Table:
    """Targets with how they are and what waits for them."""
    headers = ("name", "type", "state", "waiting", "failed", "delivered", "dropped", "last success", "next", "remark")
    return Table("targets", headers, [_target(row) for row in rows], ("last success", "dropped", "next"))


def _target(row: Mapping[str, Any]) -> list[Any]:
    told = [row["reason"], row["detail"]]
    if row["full_since"]:
        told.append(f"no room since {row['full_since']}")
    if row["untold"]:
        told.append(f"{row['untold']} not sent: {row['fault']}")
    columns = ("name", "type", "state", "waiting", "failed", "delivered", "dropped", "last_success", "next")
    return [*(row[column] for column in columns), "; ".join(filter(None, told)) or None]


def plugin_table(rows: list[Mapping[str, Any]]) -> Table:
    """Plugins with their state and why, what they bring and what their extensions took; an older daemon says less."""
    headers = ("name", "version", "state", "calls", "failed", "held", "time", "process", "brings", "error")
    shown = [
        [row["name"], row["version"], row["state"], *_figures(row), process(row), brief(row["brings"]), row["error"]]
        for row in rows
    ]
    return Table("plugins", headers, shown, ("version", "time", "calls", "failed", "process"))


def process(row: Mapping[str, Any]) -> str | None:
    """The process of an isolated plugin in a few words: how it is, its memory, how often it was started again."""
    if (found := row.get("process")) is None:
        return None
    memory = None if found["memory_bytes"] is None else size(found["memory_bytes"])
    again = f"{found['restarts']} restart{'s' if found['restarts'] > 1 else ''}" if found["restarts"] else None
    return ", ".join(filter(None, (" ".join(filter(None, (found["state"], memory))), again)))


def brief(brings: list[str]) -> str | None:
    """What it brings, by name where that is few, else counted."""
    if len(brings) <= _MOST_BROUGHT:
        return ", ".join(brings) or None
    kinds = [one.partition(" ")[0] for one in brings]
    return ", ".join(f"{kinds.count(kind)} {kind}{'s' if kinds.count(kind) > 1 else ''}" for kind in dict.fromkeys(kinds))


def _figures(row: Mapping[str, Any]) -> tuple[Any, Any, Any, Any]:
    calls, held = row.get("calls", 0), row.get("held", 0) or None
    return (calls, row["failures"], held, span(row["seconds"])) if calls else (None, None, held, None)
