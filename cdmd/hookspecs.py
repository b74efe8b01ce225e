"""Every hook: one function and its promise. Plugins implement them with ``cdmd.hookimpl``; ours use the same ones."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import pluggy

from cdmd.contracts import Connector, Context, Extension, Format, Target

if TYPE_CHECKING:
    import click

PROJECT = "cdmd"
HOOKS_VERSION: Final = (1, 1)
"""The version of the hooks and of all that ``import cdmd`` offers.

The second number grows with each addition; nothing is taken away or asked for in addition while the first stays.
"""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def cdmd_extensions() -> Sequence[Extension]:  # type: ignore[empty-body]
    """The extensions this plugin brings (made with ``cdmd.extension``)."""


@hookspec
def cdmd_connectors() -> Sequence[type[Connector]]:  # type: ignore[empty-body]
    """The connector types this plugin brings; each brings its settings struct."""


@hookspec
def cdmd_formats() -> Sequence[type[Format]]:  # type: ignore[empty-body]
    """The file formats this plugin brings; ``format = { type = NAME, ... }`` of any connector chooses among all of them."""


@hookspec
def cdmd_targets() -> Sequence[type[Target]]:  # type: ignore[empty-body]
    """The target types this plugin brings; each brings its settings struct, and ``deliver`` or ``run``."""


@hookspec
def cdmd_commands() -> "Sequence[click.Command]":  # type: ignore[empty-body]
    """Commands to add to ``cdmctl``, each with a name of its own.

    One that is also named in the entry-point group ``cdmd.commands`` stands in ``--help``, and only its plugin is imported.
    """


@hookspec
def cdmd_settings() -> type[msgspec.Struct]:  # type: ignore[empty-body]
    """The struct of the plugin's own table ``[plugins.NAME]``.

    With it the table is checked like ours, ``cdmctl plugins info NAME --example`` prints it, and defaults are in
    ``context.settings``, which stays a mapping.
    """


@hookspec
def cdmd_startup(context: Context) -> None:
    """Called once after the store is open and before any connector starts. May be async; ``context`` may be left out.

    The place to check the plugin's settings: ``cdmd.ConfigInvalid`` shows its sentences in ``cdmctl plugins``.
    """


@hookspec
def cdmd_shutdown() -> None:
    """Called once after the last event was applied. May be async."""
