"""What is known of a plugin that is not imported here but in a process of its own: what it brings, as plain values.

Not here: that process (``cdmd.isolation``).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from cdmd.config.plugins import Settled
from cdmd.contracts import Extension
from cdmd.errors import PluginFault
from cdmd.kit.quantities import Size
from cdmd.plugins.brought import Brought

ISOLATE: Final = "isolate"
_MAX_MEMORY: Final = "max_memory"


class Isolation(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin to be kept apart: its name, its entry point's value, and the most memory (bytes) its process may take."""

    name: str
    value: str
    max_memory: int | None = None


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """An extension as its plugin declared it; its function is elsewhere."""

    name: str
    on: tuple[str, ...]
    timeout: float
    on_failure: str


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """What a plugin said in its own process. ``others`` are the things it brings beside extensions.

    ``error`` is why it cannot be used; ``problems`` are the mistakes in its table, each by its key, ``defaults`` what that has
    where it is silent, and ``example`` TOML to paste.
    """

    error: str | None = None
    extensions: tuple[Declared, ...] = ()
    others: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    problems: tuple[tuple[tuple[str, ...], str], ...] = ()
    defaults: Mapping[str, Any] = {}
    example: str = ""


Describe: TypeAlias = Callable[[Isolation, Mapping[str, Any]], Described]
"""Asks a plugin what it brings and what it says of a table, in a process of its own; blocks, and never raises."""


class Apart:
    """A plugin that is kept apart, and how it is asked: once for what it brings, and again for a table that is another."""

    def __init__(self, isolation: Isolation, table: Mapping[str, Any], describe: Describe) -> None:
        self.isolation, self._describe = isolation, describe
        self._table, self._said = table, describe(isolation, table)

    def brought(self) -> Brought:
        """What it brings. Raises ``PluginFault``."""
        found = self._said
        if found.error is not None:
            raise PluginFault(found.error)
        if found.others:
            raise PluginFault(f"only extensions can be isolated, and it also brings {', '.join(found.others)}")
        extensions = [
            Extension(name=one.name, on=one.on, function=None, timeout=one.timeout, on_failure=one.on_failure)
            for one in found.extensions
        ]
        return Brought([], [], [], extensions, found.later, example=found.example)

    def settled(self, table: Mapping[str, Any]) -> Settled:
        """What it says of its table as it is written: its own, whatever keys it names."""
        if table != self._table:
            self._table, self._said = table, self._describe(self.isolation, table)
        own = ("plugins", self.isolation.name)
        return Settled([((*own, *key[2:]), what) for key, what in self._said.problems], self._said.defaults)


def isolation(name: str, value: str | None, wanted: object) -> Isolation | None:
    """What ``[plugins.NAME] isolate`` asks for: None where it is false. Raises ``PluginFault`` with what it has to be."""
    match wanted:
        case False | None:
            return None
        case True:
            memory = None
        case {"max_memory": str(text), **rest} if not rest:
            memory = _size(name, text)
        case _:
            raise PluginFault(f'plugins.{name}.{ISOLATE} is neither true nor false, nor {{ {_MAX_MEMORY} = "256MiB" }}')
    if value is None:
        raise PluginFault(f"plugins.{name}.{ISOLATE}: what is part of cdmd itself cannot be isolated")
    return Isolation(name=name, value=value, max_memory=memory)


def _size(name: str, text: str) -> int:
    try:
        return Size.parse(text).bytes
    except ValueError as error:
        raise PluginFault(f"plugins.{name}.{ISOLATE}.{_MAX_MEMORY}: {error}") from error
