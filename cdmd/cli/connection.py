"""How a command finds the daemon: ``--socket``, ``$CDMD_SOCKET``, else where the daemon would have put its socket."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from cdmd.config.places import config_file, control_socket, state_directory
from cdmd.control.client import TIMEOUT, Client
from cdmd.errors import CdmdError

SERVICE_SOCKET: Final = "/run/cdmd/control.sock"
_COMPLETION_TIMEOUT: Final = 0.2
_KEY: Final = "cdmd.socket"
_F = TypeVar("_F", bound=Callable[..., Any])


def remember_socket(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    """Keep ``--socket`` where every command finds it; the one nearest to the command counts."""
    if value is not None:
        ctx.meta[_KEY] = value


def talks(command: _F) -> _F:
    """Give a command ``--socket`` too, so that it may stand on either side of the command's name."""
    decorate = click.option(
        "--socket", metavar="PATH", expose_value=False, callback=remember_socket, help="The daemon's control socket."
    )
    return decorate(command)


def prints_data(command: _F) -> _F:
    """Give a command ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON document (JSON Lines for a stream).")(command)


def client(*, timeout: float = TIMEOUT) -> Client:
    """The client of the command that runs; ``timeout`` in seconds bounds each silence."""
    said = click.get_current_context().meta.get(_KEY)
    return Client([said] if said else places(os.environ), timeout=timeout)


def places(environment: Mapping[str, str]) -> list[str]:
    """Where the socket is looked for when no option names it, best first and each once."""
    if given := environment.get("CDMD_SOCKET"):
        return [given]
    configured = _configured(config_file(None, environment)[0])
    socket, state_dir = _text(configured, "control", "socket"), _text(configured, "daemon", "state_dir")
    # A daemon started by a service or another session saw another environment: fewer of these variables.
    less = {key: value for key, value in environment.items() if key != "RUNTIME_DIRECTORY"}
    least = {key: value for key, value in less.items() if key != "XDG_RUNTIME_DIR"}
    found = [_place(socket, state_dir, seen) for seen in (environment, less, least)]
    return list(dict.fromkeys([*(place for place in found if place is not None), SERVICE_SOCKET]))


def _place(socket: str | None, state_dir: str | None, environment: Mapping[str, str]) -> str | None:
    try:
        return str(control_socket(socket, environment, state_dir=state_directory(state_dir, environment)))
    except ValueError:
        return None


def _configured(file: Path) -> Mapping[str, Any]:
    """A configuration that may be read; whatever is wrong with it is for ``cdmd check`` to say."""
    try:
        text = file.read_text("utf-8")
    except (OSError, ValueError):
        return {}
    import tomllib

    try:
        return tomllib.loads(text)
    except ValueError:
        return {}


def _text(configured: Mapping[str, Any], table: str, key: str) -> str | None:
    found = configured.get(table)
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, str) else None


def connector_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Connectors for shell completion; none where the daemon does not answer within 200 ms."""
    return [CompletionItem(row["name"], help=row["state"]) for row in _rows(ctx, "/v1/connectors", incomplete)]


def audience_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Audiences, likewise."""
    return [CompletionItem(row["name"], help=row["where"]) for row in _rows(ctx, "/v1/audiences", incomplete)]


def target_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Targets, likewise."""
    return [CompletionItem(row["name"], help=row["state"]) for row in _rows(ctx, "/v1/targets", incomplete)]


def _rows(ctx: click.Context, path: str, incomplete: str) -> list[Mapping[str, Any]]:
    said = ctx.meta.get(_KEY)
    try:
        rows = Client([said] if said else places(os.environ), timeout=_COMPLETION_TIMEOUT).get(path)
    except CdmdError:
        return []
    return [row for row in rows if row["name"].startswith(incomplete)]
