"""Finds plugins by entry point and takes in what they bring. Each one's state is a value: a broken one is a row, not a crash.

A plugin is taken whole or not at all. Hooks are called one implementation at a time, because pluggy gives up the whole call
when one raises, and drops coroutines. Not for: running connectors (``supervisor``) or extensions (``extensions``).
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Literal, Protocol, TypeAlias

import anyio.to_thread
import msgspec

from cdmd.config.checking import nearest
from cdmd.config.plugins import Declared
from cdmd.config.schema import Absent
from cdmd.contracts import Connector, Context, Extension, Format, Target
from cdmd.errors import ConfigInvalid, PluginBroken, PluginFault
from cdmd.kit.detached import Ended, within
from cdmd.plugins.absent import AbsentConnector
from cdmd.plugins.apart import apart
from cdmd.plugins.brought import Brought, brought, check_batch, check_routes, check_streams, given, manager, reason
from cdmd.plugins.described import ISOLATE, Apart, Describe, Described, Isolation, isolation
from cdmd.plugins.formats import held

LOADING_SECONDS: Final = 10.0
"""How long a plugin may take to be imported and to say what it brings."""

_Taking: TypeAlias = Callable[[], tuple[object, Brought]]
PluginState: TypeAlias = Literal["enabled", "disabled", "load error", "bad config", "failed"]


class Found(Protocol):
    """What is used of ``importlib.metadata.EntryPoint``."""

    @property
    def name(self) -> str:
        """The plugin's name."""
        ...

    def load(self) -> Any:
        """Import the plugin."""
        ...


class PluginRow(msgspec.Struct, frozen=True, kw_only=True):
    """One plugin as ``cdmctl plugins`` shows it. ``error`` is one sentence without values."""

    name: str
    version: str | None
    state: PluginState
    error: str | None = None
    brings: Sequence[str] = ()


def _nowhere(_: Isolation, __: Mapping[str, Any]) -> Described:
    return Described(error="it is to be isolated, which only the daemon does")


class Plugins:
    """The plugins of this process, made by ``load``."""

    def __init__(self) -> None:
        self._hooks = manager()
        self._rows: dict[str, PluginRow] = {}
        self._connectors: dict[str, type[Connector]] = {}
        self._targets: dict[str, type[Target]] = {}
        self._formats: dict[str, type[Format]] = {}
        self._extensions: list[tuple[str, Extension]] = []
        self._brought: dict[str, Brought] = {}
        self._owners: dict[str, str] = {}
        self._apart: dict[str, Apart] = {}
        self._blamed: dict[str, str] = {}
        self._wrong: dict[str, str] = {}

    @classmethod
    def load(
        cls,
        entry_points: Iterable[Found],
        settings: Mapping[str, Mapping[str, Any]],
        *,
        modules: Mapping[str, object] | None = None,
        patience: float = LOADING_SECONDS,
        describe: Describe = _nowhere,
    ) -> "Plugins":
        """Import and register what ``entry_points`` (group ``cdmd``) and ``modules`` (name to module) bring. Never raises.

        Blocks; each may take ``patience`` seconds. ``settings`` are the tables ``[plugins.NAME]``; what those isolate is asked
        by ``describe`` and not imported. ``modules`` come first and win over entry points of the same name; the built-in ones
        are handed in there when cdmd runs from a checkout without installed metadata.
        """
        plugins, given = cls(), modules or {}
        for name, module in given.items():
            plugins._take(name, partial(_taken_in, partial(lambda found: found, module), name), settings.get(name, {}))
        for point in sorted(entry_points, key=lambda point: (point.name != "builtin", point.name)):
            if point.name not in given:
                own = settings.get(point.name, {})
                taking = partial(plugins._taking, point, own, patience=patience, describe=describe)
                plugins._take(point.name, taking, own, version=_version(point))
        installed = frozenset(plugins._rows)
        for name in settings.keys() - installed:
            plugins._take_absent(name, settings[name], installed)
        return plugins

    @staticmethod
    def commands(entry_points: Iterable[Found]) -> list[Any]:
        """What every ``cdmd_commands`` gives, one plugin after the other; one that fails brings none. For ``cdmctl``."""
        found: list[Any] = []
        for point in entry_points:
            with suppress(PluginFault):  # its row in `cdmctl plugins` says why; others go on
                found += apart(partial(_commands, point), seconds=LOADING_SECONDS, name=f"commands of {point.name}")
        return found

    def rows(self) -> list[PluginRow]:
        """Every plugin with its state, by name; its ``error`` also tells what it was seen doing."""
        return [self._shown(self._rows[name]) for name in sorted(self._rows)]

    def refuse(self, name: str, problems: Sequence[str]) -> None:
        """Say that the settings of an enabled plugin are wrong: by its key each. It goes on with what it brings."""
        self._was(name, "bad config", "; ".join(problems))

    def started(self, name: str, state: PluginState, error: str | None) -> None:
        """Note how an isolated plugin was once its process had started; wrong settings stay wrong."""
        self._was(name, state, error)

    def missing(self, name: str, why: str) -> None:
        """Show a plugin that was here before and is neither found nor configured."""
        self._row(name, None, "load error", why)

    def blame(self, name: str, text: str) -> None:
        """Show ``text`` (no values in it) as what the plugin was last seen doing that it should not."""
        self._blamed[name] = text

    def owner(self, module: str) -> str | None:
        """The plugin that a module belongs to: one of its own, of its package, or of a package that its classes are from."""
        return self._owners.get(module) or self._owners.get(module.partition(".")[0])

    def connector_types(self) -> dict[str, type[Connector]]:
        """Every connector type by its name."""
        return dict(self._connectors)

    def target_types(self) -> dict[str, type[Target]]:
        """Every target type by its name."""
        return dict(self._targets)

    def formats(self) -> dict[str, type[Format]]:
        """Every file format by its name."""
        return dict(self._formats)

    def brought(self, name: str) -> Brought | None:
        """What the plugin of that name brought; None where nothing of it is used."""
        return self._brought.get(name)

    def settings_types(self) -> dict[str, Declared]:
        """How each plugin declares its own table, by the plugin's name, where it does."""
        found: dict[str, Declared] = {name: one.settings for name, one in self._brought.items() if one.settings is not None}
        return found | {name: one.settled for name, one in self._apart.items() if name in self._brought}

    def isolated(self) -> dict[str, Isolation]:
        """The plugins whose extensions run in a process of their own, by name."""
        return {name: one.isolation for name, one in self._apart.items() if name in self._brought}

    def extensions(self) -> list[tuple[str, Extension]]:
        """Every extension with its plugin's name, in order of loading."""
        return list(self._extensions)

    async def startup(self, contexts: Mapping[str, Context], *, seconds: float = 10.0) -> None:
        """Call every ``cdmd_startup`` with its plugin's context.

        Who fails or takes longer is ``failed``, who refuses its settings is ``bad config``; both keep their extensions and
        connectors, so that no event passes by what was meant to see it.
        """
        await self._call_each("cdmd_startup", seconds=seconds, contexts=contexts)

    async def shutdown(self, *, seconds: float = 5.0) -> None:
        """Call every ``cdmd_shutdown``, each at most that long."""
        await self._call_each("cdmd_shutdown", seconds=seconds)

    def _shown(self, row: PluginRow) -> PluginRow:
        told = [text for text in (row.error, self._blamed.get(row.name)) if text]
        return msgspec.structs.replace(row, error="; ".join(told) or None)

    # ---- loading -----------------------------------------------------------------------------------------------------

    def _take(self, name: str, taking: _Taking, settings: Mapping[str, Any], *, version: str | None = None) -> None:
        enabled = settings.get("enabled", True)
        if name in self._rows:
            self._row(name, version, "load error", "two installed plugins have this name")
        elif not isinstance(enabled, bool):
            self._row(name, version, "bad config", "plugins." + name + ".enabled is neither true nor false")
        elif not enabled:
            self._row(name, version, "disabled", None)
        else:
            self._load(name, taking, version=version)

    def _taking(
        self, point: Found, settings: Mapping[str, Any], *, patience: float, describe: Describe
    ) -> tuple[object, Brought]:
        """A plugin of an entry point: imported, or asked. Raises ``PluginFault``."""
        wanted = isolation(point.name, getattr(point, "value", None), settings.get(ISOLATE, False))
        if wanted is None:
            return apart(partial(_taken_in, point.load, point.name), seconds=patience, name=f"load {point.name}")
        one = Apart(wanted, settings, describe)
        found = one.brought()
        self._apart[point.name] = one
        return one, found

    def _take_absent(self, name: str, settings: Mapping[str, Any], installed: Iterable[str]) -> None:
        if settings.get("enabled", True) is False:
            self._row(name, None, "disabled", None)
        else:
            self._row(name, None, "bad config", "it is configured but not installed" + nearest(name, installed))

    def _load(self, name: str, taking: _Taking, *, version: str | None) -> None:
        try:
            plugin, found = taking()
            self._check_names(name, found)
            connectors = {connector.type: connector for connector in found.connectors}
            targets = {target.type: target for target in found.targets}
            formats = {form.name: held(form) for form in found.formats}
            owners = dict.fromkeys(found.modules(plugin), name)
            self._hooks.register(plugin, name=name)
        except Exception as error:  # noqa: BLE001 - a plugin's import, hooks and classes are foreign code: its fault is its row
            self._row(name, version, "load error", reason(error))
            return
        self._connectors |= connectors
        self._targets |= targets
        self._formats |= formats
        self._extensions += [(name, extension) for extension in found.extensions]
        self._brought[name] = found
        self._owners |= owners
        self._row(name, version, "enabled", None)

    def _check_names(self, name: str, found: Brought) -> None:
        taken = {extension.name for _, extension in self._extensions}
        for kind, mine, others in (
            ("connector type", [connector.type for connector in found.connectors], set(self._connectors)),
            ("target type", [target.type for target in found.targets], set(self._targets)),
            ("format", [form.name for form in found.formats], set(self._formats)),
            ("extension", [extension.name for extension in found.extensions], taken),
        ):
            for one in mine:
                if one in others or mine.count(one) > 1:
                    raise PluginFault(f"the {kind} {one!r} exists already, so nothing of {name} is used")

    def _row(self, name: str, version: str | None, state: PluginState, error: str | None) -> None:
        brings = self._brought[name].lines(name) if name in self._brought else ()
        self._rows[name] = PluginRow(name=name, version=version, state=state, error=error, brings=brings)

    def _was(self, name: str, state: PluginState, error: str | None) -> None:
        """How a loaded plugin was found; one with wrong settings keeps that state, and the rest is told after what is wrong."""
        if state == "bad config" and error is not None:
            self._wrong.setdefault(name, error)
        if (wrong := self._wrong.get(name)) is not None:
            state, error = "bad config", "; ".join(dict.fromkeys(filter(None, (wrong, error))))
        self._row(name, self._rows[name].version, state, error)

    # ---- making ------------------------------------------------------------------------------------------------------

    def connector(self, kind: str, name: str, settings: Any) -> Connector:
        """The connector ``name`` of a type that a plugin brought.

        Raises ``ConfigInvalid``, ``PluginBroken`` of it for whatever else its constructor raises.
        """
        if isinstance(settings, Absent):
            return AbsentConnector(name, settings)
        try:
            made = self._connectors[kind](name, settings)
            check_routes(made)
            check_streams(made)
        except ConfigInvalid:
            raise
        except Exception as error:  # a plugin's constructor is foreign code: its fault is its connector's
            raise PluginBroken(f"connectors.{name}", f"its type {kind} cannot make it: {reason(error)}") from error
        return made

    def target(self, kind: str, name: str, settings: Any) -> Target | None:
        """The target ``name`` of a type that a plugin brought; None where that is missing. Raises ``ConfigInvalid``."""
        if isinstance(settings, Absent):
            return None
        try:
            made = self._targets[kind](name, settings)
            check_batch(made)
        except ConfigInvalid:
            raise
        except Exception as error:  # as above
            raise PluginBroken(f"targets.{name}", f"its type {kind} cannot make it: {reason(error)}") from error
        return made

    # ---- calling -----------------------------------------------------------------------------------------------------

    async def _call_each(self, hook: str, *, seconds: float, contexts: Mapping[str, Context] | None = None) -> None:
        for impl in getattr(self._hooks.hook, hook).get_hookimpls():
            name = impl.plugin_name
            # Arguments are bound by name: an older plugin's hook may take fewer of them.
            given = [{"context": (contexts or {}).get(name)}[argument] for argument in impl.argnames]
            ended = await _called(partial(impl.function, *given), seconds=seconds, name=f"{hook} of {name}")
            if ended is None:
                continue
            if isinstance(ended, ConfigInvalid):
                self._was(name, "bad config", "; ".join(f"plugins.{name}.{problem}" for problem in ended.problems))
                continue
            why = f"took longer than {seconds:g} s" if isinstance(ended, TimeoutError) else reason(ended)
            self._was(name, "failed", f"{hook.removeprefix('cdmd_')}: {why}")


async def _called(function: Callable[[], object], *, seconds: float, name: str) -> Ended:
    """One hook implementation under a deadline: a coroutine on the loop, a plain function in a thread."""

    async def call() -> None:
        if inspect.iscoroutinefunction(function):
            await function()
            return
        result = await anyio.to_thread.run_sync(function, abandon_on_cancel=True)
        if inspect.isawaitable(result):
            await result

    return await within(call, seconds=seconds, name=name)


def _taken_in(load: Callable[[], object], name: str) -> tuple[object, Brought]:
    plugin = load()
    return plugin, brought(plugin, name)


def _commands(point: Found) -> list[object]:
    trial = manager()
    trial.register(point.load(), name=point.name)
    return given(trial, "cdmd_commands")


def _version(point: Found) -> str | None:
    version = getattr(getattr(point, "dist", None), "version", None)
    return version if isinstance(version, str) else None
