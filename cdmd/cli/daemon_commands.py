"""``cdmd``: starts and inspects; needs no running daemon. Here is the list of its commands; they live beside it."""

import sys
from collections.abc import Sequence

import click

from cdmd import __version__
from cdmd.cli.lazy import Entry, LazyGroup
from cdmd.cli.running import run

ENTRIES = {
    "run": Entry("cdmd.cli.daemon_starting:run", "Run the daemon in the foreground."),
    "check": Entry("cdmd.cli.daemon_checking:check", "Report every mistake of the configuration."),
    "try": Entry("cdmd.cli.daemon_trying:try_connector", "Show what a connector would bring in; stores nothing."),
    "demo": Entry("cdmd.cli.demo.command:demo", "A sandbox on loopback that shows the whole flow."),
    "library": Entry("cdmd.cli.library:library", "The predefined connectors and targets."),
    "studio": Entry("cdmd.cli.studio:studio", "Declare an API without code: probe, record, test."),
    "plugin": Entry("cdmd.cli.plugin_commands:plugin", "Start a plugin package of your own, and see where it stands."),
    "verify": Entry("cdmd.cli.daemon_checking:verify", "Check journal and store while the daemon is down."),
    "restore": Entry("cdmd.cli.daemon_restoring:restore", "Put a backup in place."),
    "migrate": Entry("cdmd.cli.daemon_migrating:migrate", "Move everything to another journal or store, or back."),
    "completion": Entry("cdmd.cli.completion:completion", "Print the script that completes this command in a shell."),
    "version": Entry("cdmd.cli.daemon_version:version", "The version."),
}


@click.group(
    cls=LazyGroup,
    entries=ENTRIES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 done, 1 failed, 2 usage, 4 not found, 6 bad configuration.",
)
@click.version_option(__version__, prog_name="cdmd", message="%(prog)s %(version)s")
def cli() -> None:
    r"""The customer data management daemon.

    \b
    cdmd run
    cdmd check --config /etc/cdmd/cdmd.toml
    cdmd demo --once
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return run(cli, arguments, name="cdmd")


if __name__ == "__main__":
    sys.exit(main())
