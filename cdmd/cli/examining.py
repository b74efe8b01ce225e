"""What is wrong, told from what the daemon says of itself, and what to do about it. It decides; it asks nobody.

A problem keeps data from coming in, being applied or being kept; everything else that somebody should know is a warning.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

from cdmd.cli.terminal import span
from cdmd.kit.measures import several, size

Severity = Literal["problem", "warning"]
_FULL_QUEUE: Final = 0.8
_FEW_DAYS: Final = 7
_LONG_BACKLOG: Final = 10_000
_MANY_PARKED: Final = 1_000
_SILENT_AT_LEAST: Final = 86_400.0
_SILENT_OBJECTIVES: Final = 20
"""A source counts as silent after that many times its objective, a day at the least."""
_RECENT: Final = timedelta(hours=1)
_REFUSED_FROM: Final = 10
_LOG: Final = "read the log: journalctl -u cdmd"


class Finding(NamedTuple):
    """One thing that is not as it should be: how bad, about what, what it is, and what to do."""

    severity: Severity
    about: str
    what: str
    do: str


def examine(status: Mapping[str, Any], letters: Sequence[Mapping[str, Any]], *, now: datetime) -> list[Finding]:
    """The findings in a document of ``/v1/status`` and the newest dead letters; problems first."""
    found = [*_machine(status), *_flow(status), *_letters(status, letters, now)]
    for row in status["connectors"]:
        found += _connector(row, status["uptime_seconds"], now)
    for row in status["plugins"]:
        found += _plugin(row)
    for row in status.get("targets", []):  # an older daemon says nothing of them
        found += _target(row)
    return sorted(found, key=lambda one: one.severity != "problem")


def _machine(status: Mapping[str, Any]) -> Iterator[Finding]:
    """Disk, databases, clock."""
    disk, failure = status["disk"], status["journal"]["failure"]
    more = "enlarge the disk, or keep less: journal.keep, privacy.retention, old backups"
    if disk["free_bytes"] < disk["reserve_bytes"]:
        free, reserve = size(disk["free_bytes"]), size(disk["reserve_bytes"])
        yield Finding("problem", "disk", f"{free} are free and {reserve} are held in reserve: nothing is acknowledged", more)
    elif disk["days_left"] is not None and disk["days_left"] < _FEW_DAYS:
        yield Finding("warning", "disk", f"it is full in {disk['days_left']:.0f} days at today's rate", more)
    if failure:
        yield Finding("problem", "journal", failure, f"mend {_where(status)}; cdmd goes on by itself, and then: cdmctl verify")
    for one in status["journal"].get("copies", []):
        if not one["current"]:
            said = f"the copy on {one['server']} is {one['lag']} operations behind"
            yield Finding("warning", "journal", said, "see whether that NATS server runs: nats server report jetstream")
    for text in status["warnings"]:
        if text != failure:
            yield _warned(text)


def _where(status: Mapping[str, Any]) -> str:
    return "the disk" if status["journal"].get("server") is None else "the NATS servers (journal.url)"


def _warned(text: str) -> Finding:
    if "wall clock" in text:
        return Finding("problem", "clock", text, "let a time service keep it right (timedatectl), then restart cdmd")
    if "cannot be used" in text or "cannot be read" in text:
        return Finding("problem", "databases", text, "mend the disk, then: cdmctl verify")
    return Finding("warning", "daemon", text, _LOG)


def _flow(status: Mapping[str, Any]) -> Iterator[Finding]:
    """What waits between the door and the store."""
    queue, store, backlog = status["queue"], status["store"], status["journal"]["backlog"]
    if status["state"] in {"starting", "draining"}:
        yield Finding("warning", "daemon", f"it is {status['state']}", "ask again in a minute; " + _LOG)
    if queue["events"] > _FULL_QUEUE * queue["max_events"] or queue["bytes"] > _FULL_QUEUE * queue["max_bytes"]:
        said = f"{queue['events']} of {queue['max_events']} places are taken: senders are about to be told to come later"
        yield Finding("warning", "queue", said, "see who sends so much: cdmctl top; a `quota` bounds one connector")
    if backlog > _LONG_BACKLOG:
        said = f"{backlog} events are acknowledged and not applied yet"
        yield Finding(
            "warning", "journal", said, "look whether it shrinks (cdmctl top); if not, for a slow plugin: cdmctl plugins"
        )
    if store["parked"] > _MANY_PARKED:
        yield Finding("warning", "extensions", f"{store['parked']} events wait for one", "see why it fails: cdmctl plugins")


def _letters(status: Mapping[str, Any], letters: Sequence[Mapping[str, Any]], now: datetime) -> Iterator[Finding]:
    recent = [one for one in letters if now - datetime.fromisoformat(one["since"]) < _RECENT]
    total = status["totals"]["dead_letters"]
    for source, count in Counter(one["source"] for one in recent).most_common(5):
        code, most = Counter(one["code"] for one in recent if one["source"] == source).most_common(1)[0]
        said = f"{several(count, 'dead letters')} within an hour, {most} of them with the fault {code}"
        connector = source.partition(".")[0]
        do = f"cdmctl dead-letters list --connector {connector}; mend the cause, reload, then dead-letters retry"
        yield Finding("warning", source, said, do)
    if total and not recent:
        do = "cdmctl dead-letters list; then retry or discard them"
        new = "none of them new" if len(letters) >= total else "too many to tell which are new"
        yield Finding("warning", "dead letters", f"{total} wait for somebody to decide, {new}", do)


def _connector(row: Mapping[str, Any], uptime: float, now: datetime) -> Iterator[Finding]:
    name, why = row["name"], row["error"] or row["detail"] or "without a reason"
    if row["state"] in {"degraded", "failed"}:
        bad: Severity = "problem" if row["state"] == "failed" else "warning"
        do = f"mend what it says, try it with `cdmd try {name}`, then: cdmctl reload (a pull connector: cdmctl poll {name})"
        yield Finding(bad, name, f"it is {row['state']}: {why}", do)
    elif row["state"] == "paused":
        yield Finding("warning", name, "it is paused and brings nothing in", f"cdmctl resume {name}")
    else:
        yield from _timely(row, uptime, now)
    yield from _odd(row)


def _timely(row: Mapping[str, Any], uptime: float, now: datetime) -> Iterator[Finding]:
    """Whether a connector that runs is as fresh as it should be, or silent."""
    name, objective, measured = row["name"], row["freshness_objective_seconds"], row["freshness_seconds"]
    silent_after = max(_SILENT_AT_LEAST, _SILENT_OBJECTIVES * (objective or 0))
    last = row["last_event"]
    since = uptime if last is None else (now - datetime.fromisoformat(last)).total_seconds()
    if since > silent_after:
        said = f"nothing came for {span(since)}" if last else f"nothing came since the start {span(since)} ago"
        yield Finding("warning", name, said, f"ask the sender whether it still sends; look at what is there: cdmd try {name}")
    elif objective is not None and measured is not None and measured > objective:
        short = next((one["shortfall"] for one in row["streams"] if one["shortfall"]), None)
        said = f"its events show within {span(measured)}, and {span(objective)} are the objective"
        do = "allow it more (limits), or ask for less (freshness)"
        yield Finding("warning", name, f"{said}: {short}" if short else said, do)


def _odd(row: Mapping[str, Any]) -> Iterator[Finding]:
    """What its counters give away."""
    name, refusals = row["name"], row["refusals"]
    if (refused := sum(refusals.values())) >= max(_REFUSED_FROM, row["accepted"] // 10):
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(refusals.items(), key=lambda one: -one[1])[:3])
        do = "for a signature: compare the secret with the sender's (several may be live at once); else see etc/README.md"
        yield Finding("warning", name, f"{refused} requests were refused since the start: {reasons}", do)
    if row["id_conflicts"]:
        said = (
            f"{row['id_conflicts']} events came with an id that was there already and with other content: they count as repeats"
        )
        yield Finding("warning", name, said, 'let event.id name one occurrence, as in "{id}:{updated_at}"')
    if row["clock_ahead"]:
        said = f"{row['clock_ahead']} events were more than five minutes in the future and count as of their receipt"
        yield Finding("warning", name, said, "compare the sender's clock with this machine's (timedatectl)")
    if "unsigned" in (row["detail"] or ""):
        yield Finding(
            "warning", name, "anybody who can reach it may send", "set `verify` and a secret, or allow only known addresses"
        )


def _target(row: Mapping[str, Any]) -> Iterator[Finding]:
    about, why = f"target {row['name']}", row["reason"] or "without a reason"
    if row["full_since"]:
        said = f"it has no room for more since {row['full_since']}: {row['dropped']} deliveries were dropped"
        yield Finding("problem", about, said, "mend the endpoint; what was dropped can be sent again: cdmctl deliveries replay")
    elif row["state"] == "disabled":
        yield Finding(
            "problem",
            about,
            f"nothing is sent to it any more: {why}",
            f"mend the endpoint, then: cdmctl targets enable {row['name']}",
        )
    elif row["state"] == "failing":
        said = f"it fails ({why}), {row['waiting']} deliveries wait"
        yield Finding("warning", about, said, "look at the endpoint: cdmctl deliveries list; it is tried again by itself")
    if row["failed"]:
        said = f"{row['failed']} deliveries were set aside"
        yield Finding("warning", about, said, "cdmctl deliveries list; mend the cause, then: cdmctl deliveries retry")


def _plugin(row: Mapping[str, Any]) -> Iterator[Finding]:
    if row["state"] in {"load error", "bad config"}:
        yield Finding("problem", f"plugin {row['name']}", f"{row['state']}: {row['error']}{_kept(row)}", _mend(row))
    elif row["error"]:
        yield Finding(
            "warning",
            f"plugin {row['name']}",
            row["error"],
            f"mend what it says: its README tells what it needs; cdmctl plugins info {row['name']}",
        )
    if process := row.get("process"):  # an older daemon has none
        yield from _process(row["name"], process)


def _process(plugin: str, process: Mapping[str, Any]) -> Iterator[Finding]:
    """The process of a plugin that is isolated."""
    if process["state"] == "failed":
        kept = f'events that need {plugin} are kept meanwhile, but for those of on_failure = "store"'
        do = f"mend it, then restart cdmd; it is tried every 5 minutes, and {kept}"
        yield Finding("problem", f"plugin {plugin}", f"its process does not run: {process['reason']}", do)
    elif process["restarts"]:
        times = "once" if process["restarts"] == 1 else f"{process['restarts']} times"
        said = f"its process had to be started again {times}, because {process['reason']}"
        yield Finding(
            "warning", f"plugin {plugin}", said, "tell its author; where its memory was too small: isolate.max_memory"
        )


def _kept(row: Mapping[str, Any]) -> str:
    if not row["withheld"]:
        return ""
    return f"; {', '.join(row['withheld'])} events are kept until it is well, {row['held']} of them now"


def _mend(row: Mapping[str, Any]) -> str:
    do = "mend what it says, or install it again, then restart cdmd"
    if not row["withheld"]:
        return do
    return f"{do}; to go on without it, once and for all: [plugins.{row['name']}] enabled = false, and restart"


def worst(findings: Iterable[Finding]) -> int:
    """The exit status they call for: 1 with a problem among them."""
    return int(any(one.severity == "problem" for one in findings))
