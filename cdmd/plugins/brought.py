"""What a plugin's hooks give, tried on a plugin manager of its own and checked, so that a bad one leaves nothing behind.

Foreign code: what it raises is its plugin's row (``registry``), told by ``reason``. Not here: which plugins there are.
"""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

import msgspec
import pluggy
from typing_extensions import override

from cdmd import hookspecs
from cdmd.contracts import Connector, Extension, Format, StreamFrame, Target
from cdmd.errors import PluginFault
from cdmd.kit.frames import leaf, sentence
from cdmd.models import Route

LATER: Final = frozenset(("cdmd_verifiers",))
"""Hooks of the contract that this version does not call yet: a plugin that has them works, and its row says so."""

_SHARED: Final = frozenset(("cdmd", "tests", "__main__"))


class Brought(NamedTuple):
    """What one plugin brings; ``later`` are hooks of later versions that it has.

    ``example`` is TOML of its own table to paste, where its struct is not here.
    """

    connectors: Sequence[type[Connector]]
    targets: Sequence[type[Target]]
    formats: Sequence[type[Format]]
    extensions: Sequence[Extension]
    later: Sequence[str]
    settings: type[msgspec.Struct] | None = None
    example: str = ""

    def lines(self, name: str) -> list[str]:
        """Each of it in a few words; ``name`` is the plugin's."""
        return [
            *(f"connector {connector.type}" for connector in self.connectors),
            *(f"target {target.type}" for target in self.targets),
            *(f"format {form.name}" for form in self.formats),
            *(f"extension {name}.{extension.name}" for extension in self.extensions),
            *(f"{hook} (not used by this version)" for hook in self.later),
        ]

    def modules(self, plugin: object) -> list[str]:
        """The packages, and of packages that are not only theirs the modules, in which its code is."""
        classes = [*self.connectors, *self.targets, *self.formats]
        functions = [extension.function for extension in self.extensions]
        named = [getattr(plugin, "__name__", ""), *(getattr(one, "__module__", "") for one in (*classes, *functions))]
        owned = [name for name in named if name and name.partition(".")[0] not in sys.stdlib_module_names]
        return [name if name.partition(".")[0] in _SHARED else name.partition(".")[0] for name in owned]


class _Manager(pluggy.PluginManager):
    """Takes hooks of later versions without a complaint."""

    @override
    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        found: Any = super().parse_hookimpl_opts(plugin, name)
        return {**found, "optionalhook": True} if found is not None and name in LATER else found


def manager() -> pluggy.PluginManager:
    """A manager that knows the hooks."""
    made = _Manager(hookspecs.PROJECT)
    made.add_hookspecs(hookspecs)
    return made


def _implementations(manager: pluggy.PluginManager, hook: str) -> list[tuple[str, Callable[[], object]]]:
    return [(impl.plugin_name, impl.function) for impl in getattr(manager.hook, hook).get_hookimpls()]


def brought(plugin: object, name: str) -> Brought:
    """What the hooks of the plugin ``name`` give. Raises ``PluginFault``, and whatever they raise."""
    _check_version(getattr(plugin, "CDMD_HOOKS", None))
    trial = manager()
    trial.register(plugin, name=name)
    trial.check_pending()
    _check_marked(plugin, trial)
    return Brought(
        connectors=[_checked_connector(found) for found in given(trial, "cdmd_connectors")],
        targets=[_checked_target(found) for found in given(trial, "cdmd_targets")],
        formats=[_checked_format(found) for found in given(trial, "cdmd_formats")],
        extensions=[_checked_extension(found) for found in given(trial, "cdmd_extensions")],
        later=sorted(LATER & set(vars(trial.hook))),
        settings=_settings(trial),
    )


def _check_version(written_for: object) -> None:
    """A plugin may say which version of the hooks it was written for: ``CDMD_HOOKS = (1, 0)``."""
    ours = hookspecs.HOOKS_VERSION
    if written_for is None:
        return
    if not (isinstance(written_for, tuple) and len(written_for) == len(ours) and all(type(one) is int for one in written_for)):
        raise PluginFault("its CDMD_HOOKS is not a version: write CDMD_HOOKS = (1, 0)")
    said, has = (".".join(map(str, version)) for version in (written_for, ours))
    if written_for[0] < ours[0]:
        raise PluginFault(f"it was written for hooks {said}, and this cdmd has {has}: install a newer version of it")
    if written_for > ours:
        raise PluginFault(f"it was written for hooks {said}, and this cdmd has {has}: update cdmd")


def _check_marked(plugin: object, manager: pluggy.PluginManager) -> None:
    for hook in vars(manager.hook):
        function = getattr(plugin, hook, None)
        marked = hasattr(function, "cdmd_impl") or hasattr(function, "cdmd_spec")
        if hook.startswith("cdmd_") and callable(function) and not marked:
            raise PluginFault(f"{hook} lacks @cdmd.hookimpl")


def given(manager: pluggy.PluginManager, hook: str) -> list[object]:
    """Everything that the implementations of ``hook`` list. Raises ``PluginFault`` where they list nothing."""
    found: list[object] = []
    for _, function in _implementations(manager, hook):
        result = function()
        if inspect.iscoroutine(result):
            result.close()
            raise PluginFault(f"{hook} must be a plain function, not async")
        if not isinstance(result, list | tuple):
            raise PluginFault(f"{hook} must return a list")
        found.extend(result)
    return found


def _settings(manager: pluggy.PluginManager) -> type[msgspec.Struct] | None:
    for _, function in _implementations(manager, "cdmd_settings"):
        found = function()
        if not isinstance(found, type) or not issubclass(found, msgspec.Struct):
            raise PluginFault("cdmd_settings must return a msgspec.Struct class")
        return found
    return None


def _checked_type(found: object, what: str) -> tuple[type, str]:
    """The class of a connector or target, and the type's name."""
    if not isinstance(found, type):
        raise PluginFault(f"cdmd_{what}s must list classes")
    named, settings = getattr(found, "type", None), getattr(found, "Settings", None)
    if not isinstance(named, str) or not named:
        raise PluginFault(f"the {what} {found.__name__} has no `type`")
    if not isinstance(settings, type) or not issubclass(settings, msgspec.Struct):
        raise PluginFault(f"the {what} {named} has no `Settings` struct")
    try:
        inspect.signature(found).bind("name", None)
    except (TypeError, ValueError):
        raise PluginFault(f"the {what} {named} is not made from (name, settings)") from None
    return found, named


def _checked_target(made: object) -> type[Target]:
    found, named = _checked_type(made, "target")
    if not (_has_async(found, "run") or _has_async(found, "deliver")):
        raise PluginFault(f"the target {named} needs an async `deliver`, or an async `run`")
    return cast("type[Target]", found)


def _checked_connector(made: object) -> type[Connector]:
    found, named = _checked_type(made, "connector")
    if not (_has_async(found, "run") or _has_async(found, "answer")):
        raise PluginFault(f"the connector {named} needs an async `run`, or `routes` and an async `answer`, or both")
    return cast("type[Connector]", found)


def _checked_format(found: object) -> type[Format]:
    if not isinstance(found, type):
        raise PluginFault("cdmd_formats must list classes")
    named, settings = getattr(found, "name", None), getattr(found, "Settings", None)
    if not isinstance(named, str) or not named:
        raise PluginFault(f"the format {found.__name__} has no `name`")
    if not isinstance(settings, type) or not issubclass(settings, msgspec.Struct):
        raise PluginFault(f"the format {named} has no `Settings` struct")
    try:
        inspect.signature(found).bind(None)
        inspect.signature(getattr(found, "rows", None)).bind("self", "stream")  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise PluginFault(f"the format {named} is not made from (settings), or has no rows(stream)") from None
    return cast("type[Format]", found)


def check_routes(connector: object) -> None:
    """Raise ``PluginFault`` unless every route is one."""
    if not all(isinstance(route, Route) for route in getattr(connector, "routes", ())):
        raise PluginFault("its `routes` are not all a cdmd.Route")


def check_streams(connector: object) -> None:
    """Raise ``PluginFault`` where it has ``streams`` that are none."""
    streams = getattr(connector, "streams", {})
    if not (isinstance(streams, Mapping) and all(isinstance(one, StreamFrame) for one in streams.values())):
        raise PluginFault("its `streams` are not a cdmd.StreamFrame by name")


def check_batch(target: object) -> None:
    """Raise ``PluginFault`` where one that is handed deliveries takes none at once: it would be handed none, on and on."""
    kind, batch = type(target), getattr(target, "batch", None)
    if not _has_async(kind, "deliver") or (batch is None and _has_async(kind, "run")):
        return
    if not (isinstance(batch, int) and batch > 0):
        raise PluginFault("its `batch` is no whole number above 0: how many deliveries it takes at once")


def _has_async(found: type, name: str) -> bool:
    return inspect.iscoroutinefunction(getattr(found, name, None))


def _checked_extension(found: object) -> Extension:
    if not isinstance(found, Extension) or not callable(found.function):
        raise PluginFault("cdmd_extensions must list what @cdmd.extension makes")
    return found


def reason(error: BaseException) -> str:
    """One sentence, without values, about what foreign code raised."""
    error = leaf(error)
    if isinstance(error, PluginFault):
        return str(error)
    if isinstance(error, pluggy.PluginValidationError):  # it quotes names of hooks and arguments only
        return " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"it needs the module {error.name}, which is not installed"
    return sentence(error)
