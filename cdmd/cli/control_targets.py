"""The commands of ``cdmctl`` about targets and deliveries. What may be seen is the daemon's to decide."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

import click

from cdmd.cli.bulk import MOST, among, rehearses, would
from cdmd.cli.connection import client, prints_data, talks, target_names
from cdmd.cli.control_changing import confirm, tell
from cdmd.cli.drawing import Table
from cdmd.cli.lazy import Entry, LazyGroup
from cdmd.cli.tables import target_table
from cdmd.cli.terminal import clean, note, print_json, print_pairs, print_table
from cdmd.errors import CdmdError
from cdmd.kit.quantities import Duration

_HERE: Final = "cdmd.cli.control_targets"
_TRYING: Final = 60.0
_ROWS: Final = ("id", "target", "type", "state", "since", "due", "attempts", "reason")
_ATTEMPTS: Final = ("time", "target", "id", "type", "attempt", "outcome", "status", "seconds", "reason")


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    entries={
        "list": Entry(f"{_HERE}:target_list", "How each target is, and what waits for it."),
        "test": Entry(f"{_HERE}:target_test", "Send a sample about nobody, and say what came of it."),
        "enable": Entry(f"{_HERE}:target_enable", "Send again; what was held against it is forgotten."),
        "disable": Entry(f"{_HERE}:target_disable", "Send nothing until it is enabled, over restarts."),
        "send": Entry(f"{_HERE}:target_send", "Let one that waits for a set time go now."),
        "forget": Entry(f"{_HERE}:target_forget", "Drop what waits for one that left the configuration."),
    },
)
@talks
@prints_data
@click.pass_context
def targets(ctx: click.Context, as_json: bool) -> None:
    r"""Where deliveries go: list, test, enable, disable.

    \b
    cdmctl targets
    cdmctl targets test crm
    cdmctl targets disable crm
    """
    if ctx.invoked_subcommand is None:
        _list(as_json=as_json)


@click.command("list")
@talks
@prints_data
def target_list(as_json: bool) -> None:
    """How each target is, and what waits for it."""
    _list(as_json=as_json)


@click.command("test")
@click.argument("name", shell_complete=target_names)
@talks
@prints_data
def target_test(name: str, as_json: bool) -> None:
    r"""Send a sample about nobody, and say what came of it.

    It is of the type cdmd.test and signed as everything else. Exit status 1 where it was not taken.

    \b
    cdmctl targets test crm
    """
    found = client(timeout=_TRYING).post(_path(name, "test"), {})
    if as_json:
        print_json(found)
    else:
        print_pairs((key, value) for key, value in found.items() if value is not None)
    if found["outcome"] != "delivered":
        raise CdmdError(f"{name} did not take it: {found['reason']}")


@click.command("enable")
@click.argument("name", shell_complete=target_names)
@talks
@prints_data
def target_enable(name: str, as_json: bool) -> None:
    """Send again; what was held against it is forgotten."""
    tell(client().post(_path(name, "enable"), {}), as_json=as_json)


@click.command("disable")
@click.argument("name", shell_complete=target_names)
@talks
@prints_data
def target_disable(name: str, as_json: bool) -> None:
    """Send nothing until it is enabled, over restarts."""
    tell(client().post(_path(name, "disable"), {}), as_json=as_json)


@click.command("send")
@click.argument("name", shell_complete=target_names)
@talks
@prints_data
def target_send(name: str, as_json: bool) -> None:
    """Let one that waits for a set time go now."""
    tell(client().post(_path(name, "send"), {}), as_json=as_json)


@click.command("forget")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@talks
@prints_data
def target_forget(name: str, yes: bool, as_json: bool) -> None:
    """Drop what waits for one that left the configuration."""
    confirm(f"Drop all that waits for {name}?", yes=yes)
    tell(client(timeout=600.0).post(_path(name, "forget"), {}), as_json=as_json)


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    entries={
        "list": Entry(f"{_HERE}:delivery_list", "What waits and what was set aside."),
        "attempts": Entry(f"{_HERE}:attempt_list", "The last attempts."),
        "show": Entry(f"{_HERE}:delivery_show", "One delivery with its attempts."),
        "retry": Entry(f"{_HERE}:delivery_retry", "Let them go now: what was set aside, or waits for a later attempt."),
        "replay": Entry(f"{_HERE}:delivery_replay", "Tell a target once more what it was told."),
    },
)
@talks
@prints_data
@click.pass_context
def deliveries(ctx: click.Context, as_json: bool) -> None:
    r"""What goes to targets: list, show, retry, replay.

    \b
    cdmctl deliveries list --failed
    cdmctl deliveries show 01KBD2Z6MX7Q8ZJ5V9S2F3R4T6
    cdmctl deliveries retry --target crm --yes
    cdmctl deliveries replay crm --since 2h --rate 50/1s
    """
    if ctx.invoked_subcommand is None:
        _deliveries({}, as_json=as_json)


@click.command("list")
@click.option("--target", metavar="NAME", shell_complete=target_names, help="Only those to this target.")
@click.option("--failed", is_flag=True, help="Only what was set aside.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many at most.")
@talks
@prints_data
def delivery_list(target: str | None, failed: bool, limit: int, as_json: bool) -> None:
    """What waits and what was set aside."""
    _deliveries({"target": target, "state": "failed" if failed else None, "limit": limit}, as_json=as_json)


@click.command("attempts")
@click.option("--target", metavar="NAME", shell_complete=target_names, help="Only those to this target.")
@click.option("--outcome", type=click.Choice(["delivered", "later", "never", "gone"]), help="Only those that ended so.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many of the newest.")
@talks
@prints_data
def attempt_list(target: str | None, outcome: str | None, limit: int, as_json: bool) -> None:
    """The last attempts."""
    rows = client().get("/v1/attempts", {"target": target, "outcome": outcome, "limit": limit})
    if as_json:
        print_json(rows)
    else:
        print_table(_attempts(rows))


@click.command("show")
@click.argument("delivery", metavar="ID")
@click.option("--reveal", is_flag=True, help="With what is sent (admins; leaves an audit row).")
@talks
@prints_data
def delivery_show(delivery: str, reveal: bool, as_json: bool) -> None:
    r"""One delivery with its attempts.

    \b
    cdmctl deliveries show 01KBD2Z6MX7Q8ZJ5V9S2F3R4T6 --reveal --json | jq .body
    """
    found = client().get(f"/v1/deliveries/{quote(delivery, safe='')}", {"reveal": reveal})
    if as_json:
        print_json(found)
        return
    for row in found["queued"]:
        print_pairs((key, value) for key, value in row.items() if value is not None)
    if found["attempts"]:
        click.echo()
        print_table(_attempts(found["attempts"]))
    if found["body"] is not None:
        click.echo()
        print_json(found["body"])


@click.command("retry")
@click.argument("delivery", metavar="[ID]", required=False)
@click.option("--target", metavar="NAME", shell_complete=target_names, help="All of this target's.")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@rehearses
@talks
@prints_data
def delivery_retry(delivery: str | None, target: str | None, everything: bool, yes: bool, dry_run: bool, as_json: bool) -> None:
    r"""Let them go now: what was set aside, or waits for a later attempt.

    \b
    cdmctl deliveries retry 01KBD2Z6MX7Q8ZJ5V9S2F3R4T6
    cdmctl deliveries retry --target crm --dry-run
    cdmctl deliveries retry --target crm --yes
    """
    if (delivery is not None) + (target is not None) + everything != 1:
        raise click.UsageError("say one of the three: a delivery's id, --target NAME, or --all")
    body: dict[str, Any] = {"all": True} if everything else {"target": target} if target else {"id": delivery}
    if dry_run:
        listed = client().get("/v1/deliveries", {"target": target, "limit": MOST})
        found = among(listed, lambda row: delivery in {None, row["id"]} and _is_held(row))
        would("sent now", found, what="deliveries", by=("target", "state", "reason"), as_json=as_json)
        return
    if delivery is None:
        confirm(f"Send {'everything' if everything else f'all that waits for {target}'} now?", yes=yes)
    tell(client(timeout=600.0).post("/v1/deliveries/retry", body), as_json=as_json)


@click.command("replay")
@click.argument("target", shell_complete=target_names)
@click.option("--since", metavar="TIME", help="From when on: a time with its zone, or how long ago (2h).")
@click.option("--until", metavar="TIME", help="Up to when; by default now.")
@click.option("--type", "glob", metavar="GLOB", help="Only types that match (order.*).")
@click.option("--rate", metavar="COUNT/DURATION", help="How fast at most (100/1s).")
@click.option("--stop", is_flag=True, help="End the one that goes on.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@rehearses
@talks
@prints_data
def delivery_replay(target: str, yes: bool, dry_run: bool, as_json: bool, stop: bool, **said: str | None) -> None:
    r"""Tell a target once more what it was told.

    From what is stored, under the same ids, with the profiles as they are now; in the background, also after a restart. Merges,
    erasures and crossed values are not told again.

    \b
    cdmctl deliveries replay crm --since 2h --dry-run
    cdmctl deliveries replay crm --since 2026-11-23T10:00:00Z --until 2026-11-23T12:00:00Z --type 'order.*' --rate 50/1s
    cdmctl deliveries replay crm --stop
    """
    if stop == bool(said["since"]):
        raise click.UsageError("say from when on with --since TIME, or end the one that goes on with --stop")
    if stop:
        confirm(f"End the replay to {clean(target)}?", yes=yes)
        tell(client().post("/v1/deliveries/replay", {"target": target, "stop": True}), as_json=as_json)
        return
    since, until = _moment(str(said["since"])), said["until"] and _moment(said["until"])
    body = {"target": target, "since": since, "until": until, "type": said["glob"], "rate": said["rate"], "dry_run": dry_run}
    if not dry_run:
        confirm(f"Tell {clean(target)} again what was received since {since}?", yes=yes)
    tell(
        client(timeout=600.0).post("/v1/deliveries/replay", {key: value for key, value in body.items() if value}),
        as_json=as_json,
    )


def _attempts(rows: list[Mapping[str, Any]]) -> Table:
    return Table("attempts", _ATTEMPTS, [[row[column] for column in _ATTEMPTS] for row in rows], ("attempt", "type", "seconds"))


def _list(*, as_json: bool) -> None:
    rows = client().get("/v1/targets")
    if as_json:
        print_json(rows)
    elif rows:
        print_table(target_table(rows))
    else:
        note("no targets are configured")


def _deliveries(query: dict[str, Any], *, as_json: bool) -> None:
    rows = client().get("/v1/deliveries", query)
    if as_json:
        print_json(rows)
    else:
        print_table(
            Table("deliveries", _ROWS, [[row[column] for column in _ROWS] for row in rows], ("attempts", "due", "since"))
        )


def _is_held(row: Mapping[str, Any]) -> bool:
    """Whether it was set aside, or waits for a later moment."""
    return row["state"] == "failed" or (
        row["due"] is not None and datetime.fromisoformat(row["due"]) > datetime.now().astimezone()
    )


def _moment(text: str) -> str:
    """A time as it is sent: as it was written, or now less a duration."""
    try:
        ago = Duration.parse(text)
    except ValueError:
        return text
    return (datetime.now().astimezone() - timedelta(seconds=ago.seconds)).isoformat()


def _path(name: str, command: str) -> str:
    return f"/v1/targets/{quote(name, safe='')}/{command}"
