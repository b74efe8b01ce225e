"""Tables that are partly everybody's and partly their type's: ``[connectors.NAME]`` and ``[targets.NAME]``.

The keys of the frame are the same for all; all others are checked by the settings struct that the type brings.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from cdmd.config import meaning
from cdmd.config.checking import Checker, nearest
from cdmd.config.reading import Key, Merged, show
from cdmd.config.schema import Absent
from cdmd.errors import PluginBroken
from cdmd.kit.frames import sentence

Check: TypeAlias = Callable[[str, Any], Sequence[str]]
"""A type's own check: its name and settings in, mistakes out, each as ``key: what is wrong`` or a sentence."""

_KEYED: Final = re.compile(r"[A-Za-z0-9_.\"-]+: ")


class Types(msgspec.Struct, frozen=True, kw_only=True):
    """The types that there are of ``what``: their settings structs and their own checks, by name.

    ``frame`` are the keys that all of them have. ``absent`` says which plugins are missing: then an unknown type is a warning.
    """

    what: str
    settings: Mapping[str, type[msgspec.Struct]]
    checks: Mapping[str, Check]
    frame: Collection[str]
    absent: str | None = None


class Typed:
    """Checks the part of a table that its type brings; mistakes go to ``report``, warnings to ``warn``."""

    def __init__(self, types: Types, merged: Merged, checker: Checker, warn: Callable[[str], None]) -> None:
        self._types, self._merged, self._checker, self._warn = types, merged, checker, warn

    def settings(self, key: Key, table: Mapping[str, Any], report: Callable[[Key, str], None]) -> Any:
        """The settings of the table at ``key``; ``Absent`` where its plugin is missing, None where there is a mistake."""
        kind, types = table.get("type"), self._types
        if not isinstance(kind, str):
            return None
        if kind not in types.settings:
            return self._absent(kind, table, (*key, "type"), report)
        own = {entry: value for entry, value in table.items() if entry not in types.frame}
        try:
            settings = self._own(kind, own, key)
        except PluginBroken as error:
            self._warn(f"{self._merged.file_of(key)}: {error}")
            return stand_in(error.why, table.get("path"))
        for where, what in meaning.events(key, settings):
            report(where, what)
        return settings

    def _own(self, kind: str, own: Mapping[str, Any], key: Key) -> Any:
        """The type's own struct of its own keys, looked through by its own check. Raises ``PluginBroken`` where those fail."""
        types = self._types
        try:
            settings = self._checker.table(types.settings[kind], own, key, known=types.frame)
            found = types.checks[kind](key[-1], settings) if settings is not None and kind in types.checks else ()
            problems = [str(problem) for problem in ([found] if isinstance(found, str) else found)]
        except Exception as error:
            raise PluginBroken(show(key), f"its type {kind} cannot check it: {sentence(error)}") from error
        for problem in problems:
            self._checked(key, problem)
        return settings

    def _absent(self, kind: str, table: Mapping[str, Any], key: Key, report: Callable[[Key, str], None]) -> Absent | None:
        """An unknown type: a mistake, or the want of a plugin, which is no reason to stop all the others."""
        types = self._types
        what, near = f'there is no {types.what} type "{kind}"', nearest(kind, types.settings)
        if near or types.absent is None:
            report(key, what + near)
            return None
        self._warn(f"{self._merged.file_of(key)}: {show(key)}: {what}; {types.absent}")
        return stand_in(f"{what}; {types.absent}", table.get("path"))

    def _checked(self, key: Key, problem: str) -> None:
        """Report what a type's own check found, unless it speaks of a value that was wrong and gave way to a default."""
        keyed = _KEYED.match(problem)
        about = (*key, *(keyed[0].removesuffix(": ").split(".") if keyed else ()))
        if any(flawed[: len(about)] == about or about[: len(flawed)] == flawed for flawed in self._checker.flawed):
            return
        self._merged.problems.append(f"{self._merged.file_of(about)}: {show(key)}{'.' if keyed else ': '}{problem}")


def stand_in(why: str, path: object) -> Absent:
    """What stands for settings that no plugin can use: ``why``, and the ``path`` that senders are kept waiting at, if any."""
    return Absent(unavailable=why, path=path if isinstance(path, str) else None)
