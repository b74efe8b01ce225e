"""Loads the configuration: files and environment in, a checked ``Config`` out, or every mistake at once.

A mistake reads ``FILE: key.path: what is wrong (did you mean ...?)``. Not for: building connectors.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from cdmd.config import meaning, places, together
from cdmd.config.checking import Checker, nearest
from cdmd.config.effective import effective
from cdmd.config.governing import PrivacySettings
from cdmd.config.library import Library, lay_under
from cdmd.config.outbound import TARGET_KEYS, DeliverySettings, TargetConfig, TargetFrame
from cdmd.config.plugins import Declared, PluginTables
from cdmd.config.reading import Key, Merged, one_line, read, show
from cdmd.config.schema import (
    FRAME_KEYS,
    AudienceSettings,
    Config,
    ConnectorConfig,
    ConnectorFrame,
    ControlSettings,
    DaemonSettings,
    DeadLetterSettings,
    DedupeSettings,
    HttpSettings,
    IdentitySettings,
    IndicatorSettings,
    NetworkSettings,
    ParkedSettings,
    QueueSettings,
    TraitSettings,
)
from cdmd.config.secrets import LITERAL, Secrets, StandIns, files_named, make_token, token
from cdmd.config.sharing import JournalSettings
from cdmd.config.storing import StoreSettings
from cdmd.config.targeting import addressed, misnamed, target
from cdmd.config.telemetry import MetricsSettings, OpenTelemetrySettings
from cdmd.config.typed import Check, Typed, Types
from cdmd.contracts import Format
from cdmd.errors import ConfigInvalid
from cdmd.kit.secret import Secret

SECTIONS: Final[Mapping[str, type[msgspec.Struct]]] = {
    "daemon": DaemonSettings,
    "http": HttpSettings,
    "control": ControlSettings,
    "metrics": MetricsSettings,
    "opentelemetry": OpenTelemetrySettings,
    "network": NetworkSettings,
    "queue": QueueSettings,
    "journal": JournalSettings,
    "store": StoreSettings,
    "dead_letters": DeadLetterSettings,
    "deliveries": DeliverySettings,
    "dedupe": DedupeSettings,
    "parked": ParkedSettings,
    "identity": IdentitySettings,
    "privacy": PrivacySettings,
}
_FRAME: Final = {"type": ""}
_INDICATOR: Final = {"on": "*", "value": "0", "window": None, "step": None}
_AUDIENCE: Final = {"where": "false"}
_READABLE: Final = 0o044


def load(  # noqa: PLR0913 - each is one thing that is handed in
    path: Path | None,
    *,
    types: Mapping[str, type[msgspec.Struct]],
    formats: Mapping[str, type[Format]] = {},
    environment: Mapping[str, str],
    randomness: Callable[[int], bytes],
    checks: Mapping[str, Check] | None = None,
    targets: Mapping[str, type[msgspec.Struct]] = {},
    plugins: Mapping[str, Declared] = {},
    target_checks: Mapping[str, Check] = {},
    absent: str | None = None,
    library: Library | None = None,
    make_token: bool = False,
    alone: str | None = None,
    default: Path = places.DEFAULT_FILE,
) -> Config:
    """Load ``path``, else what ``environment`` or ``default`` names, else embedded defaults. Reads files; blocks.

    ``types`` are the settings structs by connector type, ``checks`` their own checks, ``formats`` the file formats by name;
    ``targets`` and ``target_checks`` the same by target type, ``plugins`` how plugins declare their own tables, by plugin.
    ``absent`` says which plugins are missing: then an unknown type is a warning and that connector's settings are ``Absent``,
    so that one plugin does not stop them all. ``library`` is where ``use`` looks, ours alone by default. ``make_token`` lets
    the default connector's token be written into the state directory when it is missing; otherwise nothing is written. With
    ``alone`` only that connector is loaded, and a secret that cannot be read is no mistake: for what is tested away from both.
    Raises ConfigInvalid.
    """
    file, asked = places.config_file(path, environment, default=default)
    merged = read(file, required=asked)
    lay_under(merged, library or Library(), absent=absent)
    if alone is not None:
        merged.keep("connectors", alone)
    secrets = (Secrets if alone is None else StandIns)(environment, folder=file.parent)
    connector_types = Types(what="connector", settings=types, checks=checks or {}, frame=FRAME_KEYS, absent=absent)
    target_types = Types(what="target", settings=targets, checks=target_checks, frame=TARGET_KEYS, absent=absent)
    kinds = (connector_types, target_types)
    loading = _Loading(merged, kinds=kinds, environment=environment, secrets=secrets, formats=formats, plugins=plugins)
    config = loading.config()
    if not merged.files:
        config = loading.with_inbox(config, make=make_token, randomness=randomness)
    if merged.problems:
        raise ConfigInvalid([one_line(problem) for problem in dict.fromkeys(merged.problems)])
    return msgspec.structs.replace(
        config,
        files=tuple(merged.files),
        warnings=tuple(dict.fromkeys(loading.warnings)),
        effective=effective(config, plugins=merged.tables.get("plugins", {})),
    )


def plugin_tables(path: Path | None, environment: Mapping[str, str], *, default: Path = places.DEFAULT_FILE) -> dict[str, Any]:
    """The tables ``[plugins.NAME]`` as they are written: plugins are loaded before their connector types can be checked.

    Mistakes are left to ``load``. Reads files; blocks.
    """
    file, asked = places.config_file(path, environment, default=default)
    tables = read(file, required=asked).tables.get("plugins")
    found = tables if isinstance(tables, dict) else {}
    return {name: table for name, table in found.items() if isinstance(table, dict)}


def private_places(
    path: Path | None, environment: Mapping[str, str], *, default: Path = places.DEFAULT_FILE
) -> tuple[Path, ...]:
    """What nobody may reach but the daemon: its configuration, credentials, files with secrets, state and control socket.

    Before it is known whether the configuration is right; mistakes are left to ``load``. Reads files; blocks.
    """
    file, asked = places.config_file(path, environment, default=default)
    tables = read(file, required=asked).tables
    found = [file, file.parent / "conf.d"]
    found += [Path(named)] if (named := environment.get("CREDENTIALS_DIRECTORY")) else []
    found += files_named(tables, file.parent)
    with suppress(ValueError):
        found.append(state := places.state_directory(_text(tables, "daemon", "state_dir"), environment))
        found.append(places.control_socket(_text(tables, "control", "socket"), environment, state_dir=state))
    return tuple(found)


def _text(tables: Mapping[str, Any], table: str, key: str) -> str | None:
    found = tables.get(table)
    text = found.get(key) if isinstance(found, dict) else None
    return text if isinstance(text, str) else None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # behind a directory that may not be entered
        return False


class _Loading:
    """One run over the merged tables: mistakes go to ``merged.problems``, so that all of them are told."""

    def __init__(
        self,
        merged: Merged,
        *,
        kinds: tuple[Types, Types],
        environment: Mapping[str, str],
        secrets: Secrets,
        formats: Mapping[str, type[Format]],
        plugins: Mapping[str, Declared],
    ) -> None:
        self._plugins = PluginTables(
            plugins, resolve=secrets.resolve, secret=self._secret, report=self._report, literal=self._warn_literal
        )
        self._merged, self._types, self._environment, self._secrets = merged, kinds[0].settings, environment, secrets
        self._checker = Checker(self._report, self._secret, formats=formats)
        self._holding: set[str] = set()
        self.warnings: list[str] = []
        self._typed, self._target_typed = (Typed(one, merged, self._checker, self.warnings.append) for one in kinds)

    def config(self) -> Config:
        self._unknown_tables()
        sections = {name: self._section(name, struct) for name, struct in SECTIONS.items()}
        traits = self._several("traits", TraitSettings)
        indicators = self._several("indicators", IndicatorSettings, stand_ins=_INDICATOR)
        audiences = self._several("audiences", AudienceSettings, stand_ins=_AUDIENCE)
        connectors, targets = self._connectors(), self._targets(indicators)
        # One that declares settings is told its defaults, and what it misses, also where there is no table of its own.
        tables = {name: {} for name in self._plugins.declared} | self._tables("plugins")
        plugins = {name: self._plugins.table(name, tables[name]) for name in sorted(tables)}
        for key, what in self._plugins.found():
            self.warnings.append(f"{self._merged.file_of(key)}: {show(key)}: {what}")
        for found in (
            meaning.http(sections["http"]),
            meaning.network(sections["network"]),
            meaning.identity(sections["identity"]),
            meaning.traits(traits, connectors),
            meaning.privacy(sections["privacy"], connectors),
            meaning.indicators(indicators),
            meaning.audiences(audiences, indicators),
            meaning.public_urls(sections["http"], connectors),
            meaning.certificates(sections["http"], connectors),
            together.scraping(sections["metrics"], sections["http"].listen),
            together.reconciling(connectors),
            together.keys_in_common(connectors),
            together.objectives(connectors),
            addressed(targets, audiences),
        ):
            for key, what in found:
                self._report(key, what)
        state_dir, socket = self._places(sections["daemon"], sections["control"])
        for key, what in (*together.guards(connectors, sections["identity"]), *misnamed(targets)):
            self.warnings.append(f"{self._merged.file_of(key)}: {show(key)}: {what}")
        self._warn_readable()
        return Config(
            state_dir=state_dir,
            control_socket=socket,
            traits=traits,
            indicators=indicators,
            audiences=audiences,
            connectors=connectors,
            targets=targets,
            plugins=plugins,
            plugin_problems=self._plugins.problems,
            **sections,
        )

    def with_inbox(self, config: Config, *, make: bool, randomness: Callable[[int], bytes]) -> Config:
        """The embedded default: one webhook connector with a bearer token that is kept in the state directory."""
        if "webhook" not in self._types:
            return config
        path = config.state_dir / "inbox.token"
        key = ("connectors", "inbox")
        if make:
            try:
                make_token(path, randomness=randomness)
            except OSError as error:
                self._report((*key, "secrets"), f"the token cannot be written to {path}: {error.strerror}")
        checker = self._checker
        if not _exists(path):
            # Nothing may be written: a token that nobody knows keeps the door shut just as well.
            fresh = Secret(token(randomness), reference=f"file:{path}")
            checker = Checker(self._report, lambda _text, _key: fresh)
        settings = checker.table(self._types["webhook"], {"verify": "bearer", "secrets": [f"file:{path}"]}, key)
        inbox = ConnectorConfig(name="inbox", frame=ConnectorFrame(type="webhook"), settings=settings, file="defaults")
        return msgspec.structs.replace(config, connectors={"inbox": inbox})

    def _report(self, key: Key, what: str) -> None:
        where = f"{show(key)}: " if key else ""
        self._merged.problems.append(f"{self._merged.file_of(key)}: {where}{what}")

    def _secret(self, text: str, key: Key) -> Secret:
        secret = self._secrets.resolve(text)
        if self._secrets.open_to_others(text):
            self.warnings.append(f"{self._merged.file_of(key)}: {show(key)}: everybody may read {text} (chmod o-r)")
        if secret.reference == LITERAL:
            self._warn_literal(key)
        return secret

    def _warn_literal(self, key: Key) -> None:
        self._holding.add(self._merged.file_of(key))
        hint = "a literal secret; write it as env:NAME, file:PATH or credential:NAME"
        self.warnings.append(f"{self._merged.file_of(key)}: {show(key)}: {hint}")

    def _unknown_tables(self) -> None:
        known = [*SECTIONS, "traits", "indicators", "audiences", "connectors", "targets", "plugins"]
        for name in self._merged.tables:
            if name not in known:
                self._report((name,), "unknown key" + nearest(name, known))

    def _section(self, name: str, struct: type[msgspec.Struct]) -> Any:
        built = self._checker.table(struct, self._merged.tables.get(name, {}), (name,))
        return struct() if built is None else built

    def _tables(self, name: str) -> dict[str, Any]:
        """The named tables under ``name``; anything else is reported."""
        value = self._merged.tables.get(name, {})
        if not isinstance(value, dict):
            self._report((name,), "expected a table of tables")
            return {}
        for entry, table in value.items():
            if not isinstance(table, dict):
                self._report((name, entry), "expected a table")
        return {entry: table for entry, table in value.items() if isinstance(table, dict)}

    def _several(self, name: str, struct: type[Any], *, stand_ins: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The tables under ``name``, each as a ``struct``, but for those that cannot be one."""
        built = {
            one: self._checker.table(struct, table, (name, one), stand_ins=stand_ins)
            for one, table in self._tables(name).items()
        }
        return {one: table for one, table in built.items() if table is not None}

    def _connectors(self) -> dict[str, ConnectorConfig]:
        built: dict[str, ConnectorConfig] = {}
        frames: dict[str, ConnectorFrame] = {}
        for name, table in self._tables("connectors").items():
            key = ("connectors", name)
            common = {entry: value for entry, value in table.items() if entry in FRAME_KEYS}
            frames[name] = frame = self._checker.table(ConnectorFrame, common, key, stand_ins=_FRAME)
            for where, what in meaning.frame(name, frame):
                self._report(where, what)
            settings = self._typed.settings(key, table, self._report)
            built[name] = ConnectorConfig(name=name, frame=frame, settings=settings, file=self._merged.file_of(key))
        for where, what in together.earlier_names(frames):
            self._report(where, what)
        return built

    def _targets(self, among: Mapping[str, IndicatorSettings]) -> dict[str, TargetConfig]:
        built: dict[str, TargetConfig] = {}
        for name, table in self._tables("targets").items():
            key = ("targets", name)
            common = {entry: value for entry, value in table.items() if entry in TARGET_KEYS}
            frame = self._checker.table(TargetFrame, common, key, stand_ins=_FRAME)
            for where, what in target(name, frame, among):
                self._report(where, what)
            settings = self._target_typed.settings(key, table, self._report)
            built[name] = TargetConfig(name=name, frame=frame, settings=settings, file=self._merged.file_of(key))
        return built

    def _places(self, daemon: DaemonSettings, control: ControlSettings) -> tuple[Path, Path]:
        state_dir = socket = Path()
        try:
            state_dir = places.state_directory(daemon.state_dir, self._environment)
        except ValueError as error:
            self._report(("daemon", "state_dir"), str(error))
        try:
            socket = places.control_socket(control.socket, self._environment, state_dir=state_dir)
        except ValueError as error:
            self._report(("control", "socket"), str(error))
        return state_dir, socket

    def _warn_readable(self) -> None:
        for name in self._merged.files:
            if name in self._holding and Path(name).stat().st_mode & _READABLE:
                self.warnings.append(f"{name}: holds a literal secret and others may read it (chmod 0600 {name})")
