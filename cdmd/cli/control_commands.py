"""``cdmctl``: talks to the running daemon over its local socket. Here is the list of its commands; they live beside it."""

import sys
from collections.abc import Sequence

import click

from cdmd import __version__
from cdmd.cli.lazy import Entry, LazyGroup
from cdmd.cli.running import run

_LOOKING = "cdmd.cli.control_looking"
_CHANGING = "cdmd.cli.control_changing"
_RECORDS = "cdmd.cli.control_records"
_LETTERS = "cdmd.cli.control_letters"
_FILES = "cdmd.cli.control_files"
_AUDIENCES = "cdmd.cli.control_audiences"
_TARGETS = "cdmd.cli.control_targets"

ENTRIES = {
    "status": Entry(f"{_LOOKING}:status", "Health, queue, backlog, connectors, plugins, totals."),
    "top": Entry("cdmd.cli.control_top:top", "The same as status, live, with keys to pause, poll and retry."),
    "connectors": Entry(f"{_LOOKING}:connectors", "List the connectors, or forget one that is gone."),
    "pause": Entry(f"{_CHANGING}:pause", "Hold a connector back, over restarts."),
    "resume": Entry(f"{_CHANGING}:resume", "Let a paused connector go on from where it was."),
    "poll": Entry(f"{_CHANGING}:poll", "Let a pull connector look now."),
    "position": Entry("cdmd.cli.control_position:position", "Where the streams of an API stand; let one go on elsewhere."),
    "reload": Entry(f"{_CHANGING}:reload", "Apply a changed configuration, connector by connector and target by target."),
    "tail": Entry(f"{_RECORDS}:tail", "Live events, redacted unless revealed."),
    "events": Entry(f"{_RECORDS}:events", "The way of one event."),
    "profile": Entry(f"{_RECORDS}:profile", "One customer."),
    "identity": Entry("cdmd.cli.control_identity:identity", "Who is who over the whole history: try rules, rebuild."),
    "audiences": Entry(f"{_AUDIENCES}:audiences", "Audiences: how many are in, and how far they are computed."),
    "audience": Entry(f"{_AUDIENCES}:audience", "One audience: members, changes; try a condition."),
    "erasures": Entry("cdmd.cli.control_privacy:erasures", "Erasures under way and done."),
    "minimisation": Entry("cdmd.cli.control_privacy:minimisation", "Fields that arrived and were not kept."),
    "retention": Entry("cdmd.cli.control_privacy:retention", "How long things are kept: simulate, run."),
    "suppressions": Entry("cdmd.cli.control_privacy:suppressions", "The suppression list: how long it is; hand it out."),
    "dead-letters": Entry(f"{_LETTERS}:dead_letters", "Events set aside: list, show, retry, discard."),
    "files": Entry(f"{_FILES}:files", "Files of suppliers: list, retry, skip, replay."),
    "snapshot": Entry("cdmd.cli.control_snapshots:snapshot", "Registers of suppliers: the last one applied, approve, reject."),
    "targets": Entry(f"{_TARGETS}:targets", "Where deliveries go: list, test, enable, disable."),
    "deliveries": Entry(f"{_TARGETS}:deliveries", "What goes to targets: list, show, retry, replay."),
    "plugins": Entry("cdmd.cli.control_plugins:plugins", "Plugins and their state, or all about one."),
    "config": Entry(f"{_LOOKING}:config", "The effective configuration."),
    "secrets": Entry("cdmd.cli.control_secrets:secrets", "Which secrets the configuration names, and where they come from."),
    "log-level": Entry(f"{_CHANGING}:log_level", "Log more or less, for a while or until told otherwise."),
    "backup": Entry(f"{_CHANGING}:backup", "Write a backup while the daemon runs."),
    "verify": Entry(f"{_CHANGING}:verify", "Check journal and store while the daemon runs."),
    "console": Entry("cdmd.cli.control_console:console", "Pages for a browser, on loopback until Ctrl-C."),
    "metrics": Entry(f"{_LOOKING}:metrics", "Metrics in the Prometheus text format."),
    "doctor": Entry("cdmd.cli.control_doctor:doctor", "What is wrong, and what to do about it."),
    "support-bundle": Entry("cdmd.cli.control_bundle:support_bundle", "Write what somebody who helps needs to see."),
    "audit": Entry(f"{_LOOKING}:audit", "Who did what over the control socket."),
    "completion": Entry("cdmd.cli.completion:completion", "Print the script that completes this command in a shell."),
    "version": Entry(f"{_LOOKING}:version", "The command's version and the daemon's."),
}


def _keep_socket(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    from cdmd.cli.connection import remember_socket

    remember_socket(ctx, parameter, value)


@click.group(
    cls=LazyGroup,
    entries=ENTRIES,
    plugin_group="cdmd.commands",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 done, 1 failed, 2 usage, 3 daemon not reached, 4 not found, 5 not permitted, 6 bad configuration.",
)
@click.option("--socket", metavar="PATH", expose_value=False, callback=_keep_socket, help="The daemon's control socket.")
@click.version_option(__version__, prog_name="cdmctl", message="%(prog)s %(version)s")
def cli() -> None:
    r"""Look at the running cdmd and steer it.

    \b
    cdmctl status
    cdmctl tail --connector shop
    cdmctl profile show email:joe@example.com
    cdmctl dead-letters retry --connector shop --yes

    The socket is --socket, else $CDMD_SOCKET, else where the daemon puts it.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of ``cdmctl``."""
    sys.exit(run(cli, arguments, name="cdmctl"))


if __name__ == "__main__":
    main()
