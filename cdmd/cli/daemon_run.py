"""The daemon in the foreground, as ``cdmd run`` has it (``cdmd.cli.daemon_starting``)."""

import gc
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from traceback import walk_tb

import anyio
import click
import structlog

from cdmd.cli.leaving import leave_within
from cdmd.cli.loading import load_all
from cdmd.config.schema import Config
from cdmd.daemon import Given
from cdmd.daemon import run as run_daemon
from cdmd.kit.clock import SystemClock
from cdmd.kit.frames import sentence
from cdmd.kit.loglines import choose
from cdmd.kit.logs import Logs
from cdmd.kit.memory import share_arenas
from cdmd.kit.steadfast import steadfast
from cdmd.kit.systemd import Systemd
from cdmd.plugins import Guard, Plugins
from cdmd.store.files import StateDirectory

_GRACE = 2.0  # how long the loop and the interpreter may take to end by themselves
_SWITCH_SECONDS = 0.0005  # how soon a writer thread gets the interpreter: shorter waits for acknowledgements
_LONG_SECONDS = 0.002  # where nobody waits for one (``cdmd.batches.pacing.Turns``)
_COLLECT_AFTER = (500_000, 20, 50)


def run(config: Path | None, roles: Sequence[str]) -> None:
    """Run the daemon until it is stopped. Nothing looks for garbage when it is called. Raises ConfigInvalid and CdmdError."""
    os.umask(0o077)
    share_arenas()
    guard = Guard()
    sys.addaudithook(guard)
    loaded = load_all(config, make_token=True)
    for warning in loaded.config.warnings:
        click.echo(f"warning: {warning}", err=True)
    render, write = choose(loaded.environment, sys.stderr.fileno())
    clock = SystemClock()
    logs = Logs(clock=clock, render=render, write=write, level=loaded.config.daemon.log_level)
    logs.install()
    guard.watch(loaded.plugins, StateDirectory(loaded.config.state_dir).private, _trespass(loaded.plugins))
    given = Given(
        config=loaded.config,
        plugins=loaded.plugins,
        logs=logs,
        systemd=Systemd(loaded.environment, pid=os.getpid()),
        read_config=loaded.again,
        ready=_ready,
        left=lambda abandoned: leave_within(0 if abandoned else _GRACE, status=_status(), before=logs.close),
        clock=clock,
        lengthen=_lengthen,
        private=loaded.private,
        roles=roles,
    )
    try:
        anyio.run(run_daemon, given, backend="asyncio", backend_options=steadfast(_outlived(loaded.plugins)))
    finally:
        guard.leave()
        logs.close()


def _trespass(plugins: Plugins) -> Callable[[str, str], None]:
    """What is done where a plugin tried what no plugin may do."""

    def told(plugin: str, what: str) -> None:
        plugins.blame(plugin, what)
        structlog.get_logger().error("plugin_kept_from", plugin=plugin, error=what)

    return told


def _outlived(plugins: Plugins) -> Callable[[BaseException], None]:
    """What is done where something that runs beside us was to end the process: a task that a plugin started, say."""

    def told(error: BaseException) -> None:
        modules = [str(frame.f_globals.get("__name__", "")) for frame, _ in walk_tb(error.__traceback__)]
        plugin = next(filter(None, map(plugins.owner, reversed(modules))), None)
        what = sentence(error)
        if plugin is not None:
            plugins.blame(plugin, f"tried to end the daemon: {what}")
        structlog.get_logger().error("end_refused", plugin=plugin, error=what)

    return told


def _status() -> int:
    """What the process ends with where it has to be ended: 1 while an error is on its way out."""
    return 0 if sys.exc_info()[0] is None else 1


def _ready(config: Config, addresses: Sequence[str]) -> None:
    _say_ready(config, addresses)
    tune_interpreter()


def _lengthen(long: bool) -> None:
    sys.setswitchinterval(_LONG_SECONDS if long else _SWITCH_SECONDS)


def tune_interpreter() -> None:
    """Set what is the process's own, not a part's, once all that lives as long as the process is made.

    The garbage collector never looks at that: once would hold the loop up for 50 ms just when all begins, for about a thousand
    objects. It looks at new objects by a timer (``daemon.upkeep``) unless very many are there: whatever is under way is looked
    through then, and every sender waits (tests/bench/end_to_end.py).
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
    gc.enable()


def _say_ready(config: Config, addresses: Sequence[str]) -> None:
    scheme = "https" if config.http.tls is not None else "http"
    for address in addresses:
        click.echo(f"Listening on {scheme}://{address}")
    click.echo(f"Control socket {config.control_socket}")
    click.echo(f"State in {config.state_dir}")
    if line := _first_event(config, f"{scheme}://{addresses[0]}" if addresses else ""):
        click.echo(
            f"Send a first event from another terminal:\n\n  {line}\n\nand look at who it was about:\n\n  {_look(config)}\n"
        )
    if not config.connectors:
        click.echo("Nothing comes in: no connector is configured yet. `cdmd library` lists sources and how to set one up.")
    click.echo("cdmd is ready; stop it with Ctrl-C")
    sys.stdout.flush()


def _first_event(config: Config, url: str) -> str | None:
    """A curl line for the default connector, with its token read by the shell, so that it is on no screen."""
    inbox = config.connectors.get("inbox")
    if config.files or inbox is None:
        return None
    event = (
        '{"type":"order.paid","identifiers":{"email":"joe@example.com"},"traits":{"first_name":"Joe"},"data":{"total":99.5}}'
    )
    token = config.state_dir / "inbox.token"
    return (
        f"curl -H \"Authorization: Bearer $(cat '{token}')\" -H 'Content-Type: application/json' -d '{event}' {url}/hooks/inbox"
    )


def _look(config: Config) -> str:
    command = Path(sys.argv[0]).with_name("cdmctl")
    shown = str(command) if os.sep in sys.argv[0] and command.exists() else "cdmctl"
    return f"{shown} --socket {config.control_socket} profile show email:joe@example.com"
