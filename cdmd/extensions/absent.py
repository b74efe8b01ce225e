"""Extensions whose plugin is not there: what is remembered of them, so that the events that need them wait until it is back.

Pure. Not here: where it is kept (``cdmd.daemon.remembering``), and holding the events (``calling``).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from cdmd.contracts import Context, Extension
from cdmd.models import Event


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """An extension that events must not pass by, as its plugin last declared it.

    ``off``: the plugin is left out on purpose, so nothing waits for it.
    """

    plugin: str
    name: str
    on: tuple[str, ...]
    timeout: float
    on_failure: str
    off: bool = False

    @classmethod
    def of(cls, plugin: str, extension: Extension) -> "Remembered":
        """What has to be known of it later."""
        return cls(
            plugin=plugin,
            name=extension.name,
            on=tuple(extension.on),
            timeout=extension.timeout,
            on_failure=extension.on_failure,
        )

    def stand_in(self) -> Extension:
        """What takes its place. It is never called: its events are withheld."""
        return Extension(name=self.name, on=self.on, function=_is_absent, timeout=self.timeout, on_failure=self.on_failure)


class Standing(NamedTuple):
    """What is to be remembered from now on, and which of it stands in for a plugin that is not there."""

    remembered: Sequence[Remembered]
    absent: Sequence[Remembered]


def standing(
    before: Iterable[Remembered], loaded: Iterable[tuple[str, Sequence[Extension]]], states: Mapping[str, str]
) -> Standing:
    """Decide it, from what was remembered, what plugins declare now, and the state of each that is configured or found.

    A plugin that is disabled is left out on purpose, and stays so where it is gone later; any other that is missing is wanted.
    What may be stored without its extension (``on_failure="store"``) waits for nothing.
    """
    here = dict(loaded)
    found = [Remembered.of(plugin, one) for plugin, declared in here.items() for one in declared if one.on_failure != "store"]
    absent: list[Remembered] = []
    for one in before:
        if one.plugin in here:
            continue
        if states.get(one.plugin) == "disabled":
            found.append(msgspec.structs.replace(one, off=True))
        elif one.plugin in states or not one.off:
            absent.append(msgspec.structs.replace(one, off=False))
    return Standing([*found, *absent], absent)


async def _is_absent(event: Event, context: Context) -> None:  # pragma: no cover - its events are withheld
    """Nobody is there."""
