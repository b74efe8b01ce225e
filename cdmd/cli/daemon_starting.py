"""``cdmd run``: what it is told. All else is imported when it runs, while nothing looks for garbage."""

import gc
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from cdmd.cli.roles import ROLE


@click.command(
    epilog="Without any configuration it starts on embedded defaults: one webhook connector, inbox, on 127.0.0.1:8787."
)
@click.option("--config", type=click.Path(path_type=Path), help="The configuration file.")
@ROLE
def run(config: Path | None, roles: Sequence[str]) -> None:
    r"""Run the daemon in the foreground.

    \b
    cdmd run
    cdmd run --config /etc/cdmd/cdmd.toml
    cdmd run --role process,deliver
    """
    # Until it is ready (``daemon_run.tune_interpreter``): what is made by then stays, and looking through it takes a second
    # where there is much, and a tenth of the start where there is little.
    gc.disable()
    try:
        _import_without_rich()
        from cdmd.cli import daemon_run

        daemon_run.run(config, roles)
    finally:
        gc.enable()


def _import_without_rich() -> None:
    """Structlog and httpx bring rich where it is there, for what they print: 90 modules that the daemon has no use for."""
    if "rich" not in sys.modules:
        sys.modules["rich"] = None  # type: ignore[assignment] # as one that cannot be imported
        import httpx
        import structlog

        del sys.modules["rich"], httpx, structlog
