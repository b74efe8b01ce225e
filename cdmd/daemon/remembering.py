"""Remembers over restarts which extensions events must not pass by, and lets them wait while a plugin is not there.

Not here: deciding which (``cdmd.extensions.absent``), and finding plugins (``cdmd.plugins``).
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from cdmd.contracts import Extension, Store
from cdmd.extensions.absent import Remembered, standing
from cdmd.plugins import Plugins

_NOTE: Final = "extensions"
GONE: Final = "it is not installed any more"


async def remember(plugins: Plugins, store: Store, *, keep: bool = True) -> list[tuple[str, Extension]]:
    """Keep what plugins declare now; returns what stands in for those that are not there, each with its plugin's name.

    Not ``keep``: another node does. A plugin that is gone without a table of its own gets a row. Raises ``CdmdError``.
    """
    noted = await store.noted(_NOTE)
    before = [] if noted is None else msgspec.json.decode(noted, type=list[Remembered])
    rows = plugins.rows()
    loaded = [(row.name, found.extensions) for row in rows if (found := plugins.brought(row.name)) is not None]
    known = standing(before, loaded, {row.name: row.state for row in rows})
    now = msgspec.json.encode(known.remembered).decode()
    if keep and now != noted and (known.remembered or before):
        await store.note(_NOTE, now)
    for name in sorted({one.plugin for one in known.absent} - {row.name for row in rows}):
        plugins.missing(name, GONE)
    return [(one.plugin, one.stand_in()) for one in known.absent]


def in_order(extensions: Sequence[tuple[str, Extension]]) -> list[tuple[str, Extension]]:
    """As plugins are loaded: ours first, then by name, so that an event goes on where it waited."""
    return sorted(extensions, key=lambda one: (one[0] != "builtin", one[0]))


def why_withheld(plugins: Plugins) -> dict[str, str]:
    """Why the extensions of a plugin may not be called, by its name: it is not there, or what it is told is wrong."""
    found: dict[str, str] = {}
    for row in plugins.rows():
        if plugins.brought(row.name) is None and row.state != "disabled":
            found[row.name] = f"the plugin {row.name} is not loaded: {row.error}"
        elif row.state == "bad config":
            found[row.name] = f"the plugin {row.name} is not well configured: {row.error}"
    return found
