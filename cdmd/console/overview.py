"""The overview: is it flowing, since when not, and why; and one connector by itself."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import anyio.to_thread
from starlette.requests import Request

from cdmd.console import plots, words
from cdmd.console.asking import Asking
from cdmd.console.pages import Page
from cdmd.errors import NotFound

SHOWN: Final = 50
"""Connectors on the page unless all are asked for: those first that something is wrong with."""

_WELL: Final = frozenset({"running", "paused", "starting"})
_TARGETS_WELL: Final = frozenset({"active", "paused", "disabled", "gone"})
_BESIDES: Final = {
    "unattributed": "applied that name nobody",
    "unusable": "with an identifier that is blocked or cannot be read",
    "kept_apart": "with an identifier given up",
    "id_conflicts": "repeats with other content",
    "clock_ahead": "with a time too far ahead",
    "ignored_traits": "traits that a full profile had no place for",
    "skipped_values": "values that no indicator could use",
    "missed": "found only by the stream that reconciles",
    "to_fetch": "notified and not yet fetched",
}

Document = Mapping[str, Any]


class Trouble(NamedTuple):
    """Something that is not as it should be: where, what and why, since (or last well) when, and the page that tells more."""

    where: str
    state: str
    text: str
    link: str | None = None
    when: str | None = None
    said: str = ""


async def overview(asking: Asking, request: Request) -> Page:
    """Everything at a glance."""
    status = await asking.get("/v1/status")
    sought = request.query_params.get("q", "").strip()
    rows = sorted(status["connectors"], key=lambda row: (-severity(row), row["name"]))
    rows = [row for row in rows if sought.casefold() in row["name"].casefold()]
    shown = rows if "all" in request.query_params else rows[:SHOWN]
    history = await asking.get("/v1/history", {"connector": [row["name"] for row in shown], "series": ["received"]})
    found = {"found": len(rows), "sought": sought}
    # Many plots take their time: not the loop's.
    drawn = await anyio.to_thread.run_sync(_drawn, status, history, shown)
    return Page("overview.html", "Overview", {"status": status, "history": history}, drawn | found)


def _drawn(status: Document, history: Document, shown: Sequence[Document]) -> dict[str, Any]:
    step, series = history["step_seconds"], {one["name"]: one for one in history["connectors"]}
    return {
        "troubles": troubles(status),
        "rows": [_row(row, series.get(row["name"]), step) for row in shown],
        "flow": _flow(history),
        "waiting": _waiting(history),
        "arriving": plots.recent(plots.rates(history["journaled"], step)),
        "applying": plots.recent(plots.rates(history["applied"], step)),
    }


async def connector(asking: Asking, request: Request) -> Page:
    """One connector: how it is, what became of what it received, the last hour."""
    name = request.path_params["name"]
    row = next((row for row in await asking.get("/v1/connectors") if row["name"] == name), None)
    if row is None:
        raise NotFound(f"there is no connector {name}: the overview lists those that are configured")
    history = await asking.get("/v1/history", {"connector": name})
    step, series = history["step_seconds"], next(iter(history["connectors"]), None)
    besides = [(row[field], text) for field, text in _BESIDES.items() if row[field]]
    drawn = {"row": row, "besides": besides, "pull": row["pull"]}
    drawn |= _connector_plots(row, series, step)
    return Page("connector.html", f"Connector {name}", {"connector": row, "history": history}, drawn)


def severity(row: Document) -> int:
    """How urgent a connector is: 3 stands still, 2 is late, 1 is held by somebody, 0 is well."""
    if row["state"] not in _WELL or row["error"]:
        return 3
    if is_late(row):
        return 2
    return 1 if row["state"] == "paused" else 0


def is_late(row: Document) -> bool:
    """Whether what is measured is beyond the objective."""
    measured, objective = row["freshness_seconds"], row["freshness_objective_seconds"]
    return measured is not None and objective is not None and measured > objective


def troubles(status: Document) -> list[Trouble]:
    """What is not as it should be, the gravest first."""
    found = [Trouble("cdmd", "degraded", text) for text in status["warnings"]]
    rows = sorted(status["connectors"], key=severity, reverse=True)
    found += [_of_connector(row) for row in rows if severity(row) > 1]
    found += [
        Trouble(
            row["name"],
            row["state"],
            row["reason"] or row["detail"] or "its deliveries fail",
            "/deliveries",
            row["failing_since"],
            "failing since",
        )
        for row in status["targets"]
        if row["state"] not in _TARGETS_WELL or row["full_since"]
    ]
    found += [Trouble(row["name"], row["state"], row["error"], "/plugins") for row in status["plugins"] if row["error"]]
    return found


def _of_connector(row: Document) -> Trouble:
    link = f"/connectors/{row['name']}"
    if not is_late(row) or row["state"] not in _WELL or row["error"]:
        looks = row["next"] is not None or row["streams"]
        still = f", for {words.span(row['freshness_seconds'])}" if looks and row["freshness_seconds"] is not None else ""
        text = (row["error"] or "it does not run") + still
        return Trouble(row["name"], row["state"], text, link, row["since"], "began")
    measured, objective = words.span(row["freshness_seconds"]), words.span(row["freshness_objective_seconds"])
    return Trouble(
        row["name"], "late", f"{measured} behind, where {objective} are wanted", link, row["last_event"], "last event"
    )


def _row(row: Document, series: Document | None, step: float) -> dict[str, Any]:
    return {
        "row": row,
        "severity": severity(row),
        "plot": plots.of_connector(series, step) if series else None,
        "rate": plots.recent(plots.rates(series["received"], step)) if series else None,
        "pull": row["pull"],
    }


def _flow(history: Document) -> plots.Plot | None:
    step = history["step_seconds"]
    arrived, applied = (plots.thinned(plots.rates(history[name], step)) for name in ("journaled", "applied"))
    return _large([arrived, applied], step * _group(history), "Events a second that arrived and that were applied")


def _waiting(history: Document) -> plots.Plot | None:
    found = plots.thinned(history["backlog"], highest=True)
    return _large([found], history["step_seconds"] * _group(history), "Events that were acknowledged and not yet applied")


def _connector_plots(row: Document, series: Document | None, step: float) -> dict[str, Any]:
    if series is None:
        return {"rate": None, "fresh": None, "backlog": None}
    objective = row["freshness_objective_seconds"]
    group = step * -(-len(series["received"]) // plots.POINTS)
    fresh = plots.thinned(series["freshness_seconds"], highest=True)
    rate = plots.thinned(plots.rates(series["received"], step))
    return {
        "rate": _large([rate], group, "Records a second that were received"),
        "fresh": _large([fresh], group, "How far behind events became visible, in seconds", mark=objective),
        "backlog": _large([plots.thinned(series["backlog"], highest=True)], group, "Events that were not yet applied"),
    }


def _group(history: Document) -> int:
    return int(-(-len(history["journaled"]) // plots.POINTS))


def _large(lines: Sequence[plots.Series], step: float, text: str, *, mark: float | None = None) -> plots.Plot | None:
    return plots.plot(lines, step=step, width=320, height=72, words=text, mark=mark)
