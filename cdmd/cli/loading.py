"""Plugins and configuration as the commands load them: plugins first, because they bring connector types."""

import csv
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

import cdmd.builtin
from cdmd.config.library import Library
from cdmd.config.loading import load, plugin_tables, private_places
from cdmd.config.outbound import TargetConfig
from cdmd.config.schema import Config, ConnectorConfig
from cdmd.config.typed import stand_in
from cdmd.errors import ConfigInvalid, PluginBroken
from cdmd.identity.identifiers import Kinds
from cdmd.isolation import describe
from cdmd.plugins import Plugins
from cdmd.profiles.projection import Projection

_Configured = TypeVar("_Configured", ConnectorConfig, TargetConfig)


class Loaded(NamedTuple):
    """What a command works with. ``path`` is the configuration file that was asked for, if any.

    ``private`` are the places that only the daemon may reach.
    """

    plugins: Plugins
    config: Config
    path: Path | None
    environment: Mapping[str, str]
    private: Sequence[Path] = ()

    def again(self) -> Config:
        """The configuration read anew, with the plugins that are loaded. Raises ConfigInvalid."""
        return _load(self.path, self.plugins, self.environment, make_token=False)


def lift_bounds() -> None:
    """Let a field of CSV be as large as its record, which is what is bounded: the library's bound is the process's own."""
    csv.field_size_limit(sys.maxsize)


def load_all(path: Path | None, *, make_token: bool = False, alone: str | None = None) -> Loaded:
    """Load plugins and configuration; ``make_token`` makes the default connector's token. Raises ConfigInvalid.

    With ``alone`` only that connector is loaded, and a secret that cannot be read is no mistake. Bounds are lifted.
    """
    lift_bounds()
    environment = dict(os.environ)
    tables, private = plugin_tables(path, environment), private_places(path, environment)
    plugins = Plugins.load(
        entry_points(group="cdmd"), tables, modules={"builtin": cdmd.builtin}, describe=partial(describe, private=private)
    )
    config = _load(path, plugins, environment, make_token=make_token, alone=alone)
    config = msgspec.structs.replace(config, warnings=(*config.warnings, *_unwell(plugins)))
    for name, problems in config.plugin_problems.items():
        plugins.refuse(name, problems)
    return Loaded(plugins, config, path, environment, private)


def _load(
    path: Path | None, plugins: Plugins, environment: Mapping[str, str], *, make_token: bool, alone: str | None = None
) -> Config:
    types = plugins.connector_types()
    checks: dict[str, Any] = {name: kind.check for name, kind in types.items() if hasattr(kind, "check")}
    targets = plugins.target_types()
    config = load(
        path,
        types={name: kind.Settings for name, kind in types.items()},
        targets={name: kind.Settings for name, kind in targets.items()},
        plugins=plugins.settings_types(),
        target_checks={name: kind.check for name, kind in targets.items() if hasattr(kind, "check")},
        formats=plugins.formats(),
        environment=environment,
        randomness=secrets.token_bytes,
        checks=checks,
        absent=_absent(plugins),
        library=Library.installed(entry_points(group="cdmd")),
        make_token=make_token,
        alone=alone,
    )
    return _built(config, plugins)


def _absent(plugins: Plugins) -> str | None:
    """Which plugins brought nothing, and why; None where all did."""
    missing = [row for row in plugins.rows() if row.state in {"load error", "bad config", "disabled"}]
    return ", ".join(f"the plugin {row.name} is not there ({row.error or row.state})" for row in missing) or None


def _unwell(plugins: Plugins) -> Iterator[str]:
    """What is wrong with plugins before their settings are looked at: one that is not installed, say."""
    for row in plugins.rows():
        if row.state in {"load error", "bad config"}:
            key = f"plugins.{row.name}"
            yield str(row.error) if str(row.error).startswith(key) else f"{key}: {row.error}"


def _built(config: Config, plugins: Plugins) -> Config:
    """What only building finds: patterns, templates, connectors and their paths. Raises ConfigInvalid with all of it.

    What a plugin breaks at has something that stands in for its settings, and a warning: it stops none of the others.
    """
    problems = _problems(lambda: Kinds(config.identity)) + _problems(lambda: Projection(config.indicators))
    owners: dict[str, tuple[str, bool]] = {}
    warnings = list(config.warnings)
    connectors, targets = dict(config.connectors), dict(config.targets)
    for name, one in config.connectors.items():
        try:
            _claim(plugins, one, owners)
        except PluginBroken as error:
            connectors[name] = _without(one, error, warnings)
        except ConfigInvalid as error:
            problems += [f"{one.file}: {problem}" for problem in error.problems]
    for name, target in config.targets.items():
        try:
            plugins.target(target.frame.type, name, target.settings)
        except PluginBroken as error:
            targets[name] = _without(target, error, warnings)
        except ConfigInvalid as error:
            problems += [f"{target.file}: {problem}" for problem in error.problems]
    if problems:
        raise ConfigInvalid(problems)
    return msgspec.structs.replace(config, connectors=connectors, targets=targets, warnings=tuple(warnings))


def _without(one: _Configured, error: PluginBroken, warnings: list[str]) -> _Configured:
    warnings.append(f"{one.file}: {error}")
    return msgspec.structs.replace(one, settings=stand_in(error.why, getattr(one.settings, "path", None)))


def _claim(plugins: Plugins, one: ConnectorConfig, owners: dict[str, tuple[str, bool]]) -> None:
    """Make the connector and note which paths it answers; raises ConfigInvalid where that fails or a path is taken."""
    name, connector = one.name, plugins.connector(one.frame.type, one.name, one.settings)
    for route in getattr(connector, "routes", ()):
        owner, shared = owners.setdefault(route.path, (name, route.shared))
        if owner != name and not (shared and route.shared):
            raise ConfigInvalid([f"connectors.{name}.path: {route.path} is already answered by connectors.{owner}"])


def _problems(build: Callable[[], object]) -> list[str]:
    try:
        build()
    except ConfigInvalid as error:
        return list(error.problems)
    return []
