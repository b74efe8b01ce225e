"""Plugins, the configuration in force with what the last reload changed, and the audit."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request

from cdmd.console import words
from cdmd.console.asking import Asking
from cdmd.console.forms import Form
from cdmd.console.pages import Page, Question
from cdmd.errors import NotFound

_ROWS: Final = 200
_SEARCHED: Final = 5000
_OF_NAMES: Final = frozenset({"connectors", "targets", "indicators", "audiences", "traits", "plugins"})


async def plugins(asking: Asking, request: Request) -> Page:
    """Every plugin with its state and what it brings."""
    return Page("plugins.html", "Plugins", {"plugins": await asking.get("/v1/plugins")})


async def plugin(asking: Asking, request: Request) -> Page:
    """One plugin: its extensions' figures, and its settings to paste."""
    found = await asking.get("/v1/plugin", {"name": request.path_params["name"]})
    return Page("plugin.html", f"Plugin {found['name']}", {"plugin": found})


async def configuration(asking: Asking, request: Request) -> Page:
    """Every key in force by table; above them the last reload."""
    config = await asking.get("/v1/config")
    try:
        reload = await asking.get("/v1/reload")
    except NotFound:
        reload = None
    sought = request.query_params.get("q", "").strip()
    tables = [(name, words.leaves(table, name)) for name, table in _tables(config)]
    found = [(name, [row for row in rows if sought.casefold() in row[0].casefold()]) for name, rows in tables]
    drawn = {"tables": [(name, rows) for name, rows in found if rows], "sought": sought}
    return Page("configuration.html", "Configuration", {"configuration": config, "reload": reload}, drawn)


def _tables(config: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The configuration's tables; what has a name of its own (a connector, say) is a table of its own."""
    found: list[tuple[str, Mapping[str, Any]]] = []
    for name, table in config.items():
        if name in _OF_NAMES:
            found += [(f"{name}.{one}", settings) for one, settings in table.items()]
        else:
            found.append((name, table))
    return found


async def audit(asking: Asking, request: Request) -> Page:
    """Who did what, the newest first."""
    sought = request.query_params.get("q", "").strip()
    rows = await asking.get("/v1/audit", {"limit": _SEARCHED if sought else _ROWS})
    if sought:
        rows = [row for row in rows if sought.casefold() in f"{row['user']} {row['command']} {row['outcome']}".casefold()]
    return Page("audit.html", "Audit", {"audit": rows[:_ROWS]}, {"sought": sought, "most": _ROWS})


async def ask_reload(asking: Asking, form: Form) -> Question:
    """Before the configuration is read again."""
    text = "The configuration's files are read and checked; what changed is applied. With a mistake the old one stays in force."
    return Question("Apply the configuration as it is written now?", text, "Reload")
