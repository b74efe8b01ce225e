"""The live screen without the screen: what a key does, which rows fit, how many events come in a second. It decides only."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from cdmd.cli.drawing import Table
from cdmd.cli.terminal import span

Action = Literal["pause", "resume", "poll", "retry"]
_WELL: Final = frozenset(("running", "starting"))
_KEY: Final = re.compile("\x1b\\[.|.", re.DOTALL)
_UP: Final = frozenset(("\x1b[A", "k"))
_DOWN: Final = frozenset(("\x1b[B", "j"))
KEYS: Final = "up/down choose   p pause or resume   n poll now   r retry dead letters   q quit"
_OPTIONAL: Final = ("last event", "type", "parked", "per s", "freshness", "backlog")


class View(NamedTuple):
    """Who is chosen, what is asked (an action that waits for ``y``), what was said last, and whether to leave."""

    chosen: str | None = None
    asked: Action | None = None
    said: str = ""
    left: bool = False


def split(typed: str) -> list[str]:
    """The keys in what a terminal sent at once; an arrow is several characters."""
    return _KEY.findall(typed)


def ordered(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Who is not well first, then by name."""
    return sorted(rows, key=lambda row: (row["state"] in _WELL, row["name"]))


def press(view: View, key: str, rows: Sequence[Mapping[str, Any]]) -> tuple[View, Action | None]:
    """What becomes of the view when a key is pressed, and what is to be done with the chosen connector now."""
    if view.asked is not None:
        return view._replace(asked=None, said="" if key == "y" else "nothing was done"), view.asked if key == "y" else None
    if key == "q":
        return view._replace(left=True), None
    names = [row["name"] for row in ordered(rows)]
    if not names:
        return view, None
    place = names.index(view.chosen) if view.chosen in names else -1
    if key in _DOWN or key in _UP:
        place = min(place + 1, len(names) - 1) if key in _DOWN else max(place - 1, 0)
        return view._replace(chosen=names[place], said=""), None
    if key not in {"p", "n", "r"}:
        return view, None
    if place < 0:
        return view._replace(said="choose a connector first"), None
    row = next(one for one in rows if one["name"] == view.chosen)
    action: Action = {"n": "poll", "r": "retry"}.get(key) or ("resume" if row["state"] == "paused" else "pause")  # type: ignore[assignment]
    if action in {"poll", "resume"}:
        return view._replace(said=""), action
    return view._replace(asked=action, said=question(action, row)), None


def question(action: Action, row: Mapping[str, Any]) -> str:
    """What is asked before something that others notice."""
    name = row["name"]
    return (
        f"pause {name}? (y)"
        if action == "pause"
        else f"send the {row['dead_letters']} dead letters of {name} through again? (y)"
    )


def rates(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> dict[str, float]:
    """Events accepted in a second, by connector, between two looks at one run of the daemon."""
    seconds = 0.0 if before is None else after["uptime_seconds"] - before["uptime_seconds"]
    if before is None or seconds <= 0:
        return {}
    had = {row["name"]: row["accepted"] for row in before["connectors"]}
    return {row["name"]: (row["accepted"] - had[row["name"]]) / seconds for row in after["connectors"] if row["name"] in had}


def table(view: View, rows: Sequence[Mapping[str, Any]], rate: Mapping[str, float], *, height: int) -> Table:
    """As many rows as fit into ``height``, the chosen one among them."""
    all_rows = ordered(rows)
    place = next((number for number, row in enumerate(all_rows) if row["name"] == view.chosen), 0)
    first = max(0, min(place - height // 2, len(all_rows) - height))
    headers = ("", "name", "type", "state", "freshness", "per s", "backlog", "dead", "parked", "last event", "remark")
    shown = [_cells(view, row, rate) for row in all_rows[first : first + height]]
    return Table("connectors", headers, shown, _OPTIONAL)


def _cells(view: View, row: Mapping[str, Any], rate: Mapping[str, float]) -> list[Any]:
    objective, measured = row["freshness_objective_seconds"], row["freshness_seconds"]
    late = " late" if objective is not None and measured is not None and measured > objective else ""
    fresh = span(measured) + ("" if objective is None else f" of {span(objective)}{late}")
    mark = ">" if row["name"] == view.chosen else ""
    speed = f"{rate[row['name']]:.1f}" if row["name"] in rate else None
    counts = [row["backlog"], row["dead_letters"], row["parked"], row["last_event"]]
    return [mark, row["name"], row["type"], row["state"], fresh, speed, *counts, row["error"] or row["detail"]]
