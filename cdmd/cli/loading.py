"""Plugins and configuration as the commands load them: plugins first, because they bring connector types."""

import os
import secrets
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

import cdmd.connectors
from cdmd.config.loading import load, plugin_tables
from cdmd.config.schema import Config
from cdmd.contracts import Connector
from cdmd.errors import ConfigInvalid
from cdmd.identity.identifiers import Kinds
from cdmd.plugins import Plugins
from cdmd.profiles.projection import Projection


class Loaded(NamedTuple):
    """What a command works with. ``path`` is the configuration file that was asked for, if any."""

    plugins: Plugins
    config: Config
    path: Path | None
    environment: Mapping[str, str]

    def again(self) -> Config:
        """The configuration read anew, with the plugins that are loaded. Raises ConfigInvalid."""
        return _load(self.path, self.plugins.connector_types(), self.environment, make_token=False)


def load_all(path: Path | None, *, make_token: bool = False) -> Loaded:
    """Load plugins and configuration; ``make_token`` makes the default connector's token. Raises ConfigInvalid."""
    environment = dict(os.environ)
    tables = plugin_tables(path, environment)
    plugins = Plugins.load(entry_points(group="cdmd"), tables, modules={"builtin": cdmd.connectors})
    config = _load(path, plugins.connector_types(), environment, make_token=make_token)
    return Loaded(plugins, config, path, environment)


def _load(
    path: Path | None, types: Mapping[str, type[Connector]], environment: Mapping[str, str], *, make_token: bool
) -> Config:
    checks: dict[str, Any] = {name: kind.check for name, kind in types.items() if hasattr(kind, "check")}
    config = load(
        path,
        types={name: kind.Settings for name, kind in types.items()},
        environment=environment,
        randomness=secrets.token_bytes,
        checks=checks,
        make_token=make_token,
    )
    _compile(config)
    return config


def _compile(config: Config) -> None:
    """What only compiling finds: identifiers' patterns, indicators' templates. Raises ConfigInvalid with all of it."""
    problems: list[str] = []
    for build in (lambda: Kinds(config.identity), lambda: Projection(config.indicators)):
        try:
            build()
        except ConfigInvalid as error:
            problems += error.problems
    if problems:
        raise ConfigInvalid(problems)
