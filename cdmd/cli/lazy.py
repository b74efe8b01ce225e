"""Groups of commands whose modules are imported when a command is called, so that ``--help`` is quick.

The table carries each command's one-line help; a test holds it to what the command itself says.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import click
from typing_extensions import override


class Entry(NamedTuple):
    """A command: where it is (``module:attribute``) and its one-line help."""

    place: str
    help: str


class LazyGroup(click.Group):
    """A group over ``entries``; with ``plugin_group`` it also has the commands of that entry-point group."""

    def __init__(
        self, *arguments: Any, entries: Mapping[str, Entry] | None = None, plugin_group: str | None = None, **named: Any
    ) -> None:
        super().__init__(*arguments, **named)
        self.help = _examples(self.help)
        self.entries, self._plugin_group = entries or {}, plugin_group

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.entries, *(name for name in sorted(self._plugins()) if name not in self.entries)]

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.entries:
            module, _, attribute = self.entries[cmd_name].place.partition(":")
            loaded: click.Command = getattr(import_module(module), attribute)
            loaded.help = _examples(loaded.help)
            return loaded
        return self._plugin_command(cmd_name)

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, entry.help) for name, entry in self.entries.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
        plugins = [
            (name, f"From {_origin(point)}.") for name, point in sorted(self._plugins().items()) if name not in self.entries
        ]
        if plugins:
            with formatter.section("Commands of plugins"):
                formatter.write_dl(plugins)

    def _plugins(self) -> dict[str, Any]:
        """Entry points by name: metadata only, nothing of a plugin is imported."""
        if self._plugin_group is None:
            return {}
        from importlib.metadata import entry_points

        return {point.name: point for point in entry_points(group=self._plugin_group)}

    def _plugin_command(self, name: str) -> click.Command | None:
        point = self._plugins().get(name)
        if point is None:
            return self._hooked(name)
        try:
            loaded = point.load()
        except Exception as error:
            raise click.ClickException(
                f"{name} of {_origin(point)} cannot be loaded: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(loaded, click.Command):
            raise click.ClickException(f"{name} of {_origin(point)} is not a command")
        return loaded

    def _hooked(self, name: str) -> click.Command | None:
        """The command that a plugin brings by the hook ``cdmd_commands`` alone: every plugin has to be imported to find it."""
        if self._plugin_group is None:
            return None
        from cdmd.plugins import Plugins

        return next((one for one in Plugins.commands(self._installed()) if one.name == name), None)

    def _installed(self) -> Iterable[Any]:
        from importlib.metadata import entry_points

        return entry_points(group="cdmd")


def _examples(text: str | None) -> str | None:
    """Help whose examples keep their lines: raw docstrings spell the mark that click wants as two characters."""
    return None if text is None else text.replace("\\b\n", "\b\n")


def _origin(point: Any) -> str:
    return f"the plugin {point.dist.name}" if point.dist is not None else "a plugin"
