"""What ``cdmctl files`` shows and does: the ledger's rows, and a file told to be read again or never."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

import anyio
import msgspec

from cdmd.connectors.files import ledger
from cdmd.connectors.files.ledger import (
    BLOCKED,
    DONE,
    DUPLICATE,
    GONE,
    PARSING,
    QUARANTINED,
    SEEN,
    SKIPPED,
    Entry,
    Known,
    Ledger,
)
from cdmd.connectors.files.looking import dated_ahead, settles
from cdmd.connectors.files.names import named, shown
from cdmd.connectors.files.settings import FileSettings
from cdmd.connectors.files.taking import Progress, finished
from cdmd.connectors.files.watching import Moment
from cdmd.contracts import Source
from cdmd.errors import BadArguments, NotFound
from cdmd.models import from_micros

COMMANDS: Final = ("retry", "skip", "replay")
STATES: Final = (SEEN, "settling", "ready", "fetching", PARSING, DONE, DUPLICATE, QUARANTINED, BLOCKED, SKIPPED, GONE)
_UNWELL: Final = frozenset({QUARANTINED, BLOCKED, GONE})
_AGAIN: Final = {"retry": frozenset({QUARANTINED, BLOCKED, GONE, SKIPPED}), "replay": frozenset({DONE, DUPLICATE, GONE})}


class Watching(Protocol):
    """What of the watcher is needed to show its files."""

    settings: FileSettings
    listings: int
    lock: anyio.Lock
    progress: Progress | None
    waiting: frozenset[bytes]

    def moment(self, source: Source) -> Moment:
        """Now."""
        ...

    def modified(self, mtime: int) -> datetime | None:
        """A file's time of change."""
        ...


async def rows(watcher: Watching, source: Source, *, state: str | None, limit: int) -> list[Mapping[str, Any]]:
    """Files on their way first, then those that need a look, then the newest. Raises ``BadArguments`` for an unknown state."""
    if state is not None and state not in STATES:
        raise BadArguments(f"there is no such state; a file is {', '.join(STATES)}")
    found: list[tuple[int, int, bytes, Entry]] = []
    async for path, entry in Ledger(source).all():
        if state not in {None, state_of(watcher, path, entry)}:
            continue
        rank = 2 if entry.state in {DONE, DUPLICATE, SKIPPED} else 1 if entry.state in _UNWELL else 0
        found.append((rank, -entry.since, path, entry))
        if len(found) >= 2 * limit + 1000:
            found.sort(key=lambda one: one[:3])
            del found[limit:]
    return [_row(watcher, source, path, entry) for _, _, path, entry in sorted(found, key=lambda one: one[:3])[:limit]]


async def command(watcher: Watching, source: Source, *, command: str, names: Sequence[str]) -> int:
    """Do it to every one of them, or to none. Raises ``NotFound`` and ``BadArguments``."""
    paths = [named(name) for name in names]
    async with watcher.lock:
        known = await Ledger(source).known(paths)
        changes: ledger.Changes = {}
        for path in paths:
            if watcher.progress is not None and watcher.progress.path == path:
                raise BadArguments(
                    f"{shown(path)} is being read now; hold the connector back first: cdmctl pause {source.name}"
                )
            changes |= _changed(watcher, source, command, path=path, known=known[path])
        await source.emit([], state=changes)
    return len(paths)


def state_of(watcher: Watching, path: bytes, entry: Entry) -> str:
    """The state that is shown: of files on their way it depends on what goes on now."""
    progress = watcher.progress
    if entry.state not in {SEEN, PARSING}:
        return entry.state
    if progress is not None and progress.path == path:
        return "fetching" if progress.stage in {"", "fetching"} else PARSING
    if path in watcher.waiting:
        return "ready"
    return entry.state if entry.state == PARSING or entry.listing == watcher.listings else "settling"


def _changed(watcher: Watching, source: Source, command: str, *, path: bytes, known: Known) -> ledger.Changes:
    name = shown(path)
    if command == "skip":
        if known.open is None:
            raise _unknown(name) if known.over is None else BadArguments(f"{name} is {known.over.state}; nothing waits of it")
        return finished(path, known.open, source=source, state=SKIPPED, reason="it was told to be skipped")[1]
    if command == "retry" and known.open is not None:
        return ledger.opened(path, _at_once(known.open, watcher, source))
    if known.over is None:
        raise _unknown(name)
    if known.over.state not in _AGAIN[command]:
        other = "replay" if command == "retry" else "retry"
        raise BadArguments(f"{name} is {known.over.state}; to read it again: cdmctl files {other} {name}")
    return ledger.opened(path, _at_once(known.over, watcher, source, again=command == "replay"))


def _at_once(entry: Entry, watcher: Watching, source: Source, *, again: bool = False) -> Entry:
    """On its way as if it had settled: the next look takes it, from its first record unless it was begun and goes on."""
    now = watcher.moment(source)
    anew = {} if entry.state == PARSING else {"record": 0, "records": 0, "taken": 0, "filtered": 0, "bad": 0, "digest": b""}
    return msgspec.structs.replace(
        entry,
        state=entry.state if entry.state == PARSING else SEEN,
        since=now.micros,
        session=now.session,
        sighted=now.steady - watcher.settings.stable_for.seconds,
        listing=now.listing,
        reason="",
        after="",
        again=again,
        tries=0,
        **anew,
    )


def _reason(watcher: Watching, source: Source, entry: Entry) -> str | None:
    stable_for = watcher.settings.stable_for.seconds
    if entry.reason or entry.state != SEEN or watcher.moment(source).steady - entry.sighted >= stable_for:
        return entry.reason or None
    return settles(stable_for)


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no file {name}; cdmctl files lists them")


def _row(watcher: Watching, source: Source, path: bytes, entry: Entry) -> Mapping[str, Any]:
    modified = watcher.modified(entry.mtime)
    row = {
        "name": shown(path),
        "state": state_of(watcher, path, entry),
        "generation": entry.generation,
        "bytes": entry.size,
        "modified": modified,
        "dated": dated_ahead(modified, source.clock.now()),
        "since": from_micros(entry.since),
        "record": entry.record,
        "records": entry.records,
        "accepted": entry.taken,
        "filtered": entry.filtered,
        "bad": entry.bad,
        "sha256": entry.digest.hex() or None,
        "after": entry.after or None,
        "reason": _reason(watcher, source, entry),
    }
    progress = watcher.progress
    if progress is not None and progress.path == path and entry.state in {SEEN, PARSING}:
        row |= {"progress": progress.sentence(), "rate": progress.rate, "seconds_left": progress.seconds_left}
    return row
