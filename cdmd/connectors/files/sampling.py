"""One file tried: what a connector would bring in, with nothing moved, deleted, or remembered.

No file is waited for until it has settled: somebody looks, and is told.
"""

import glob
from collections.abc import Callable
from contextlib import aclosing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import msgspec

from cdmd.connectors.files.area import Area, Listed
from cdmd.connectors.files.completeness import Completeness
from cdmd.connectors.files.contents import Contents
from cdmd.connectors.files.folder import Folder
from cdmd.connectors.files.ledger import DONE, SEEN, Entry
from cdmd.connectors.files.looking import Found, dated_ahead
from cdmd.connectors.files.names import Patterns, shown
from cdmd.connectors.files.settings import FileSettings
from cdmd.connectors.files.spool import Spool
from cdmd.connectors.files.taking import Progress
from cdmd.connectors.probing import Guess, otherwise
from cdmd.contracts import Source
from cdmd.errors import BadArguments
from cdmd.kit.measures import several

_NAMED: Final = 5


class Reading(Protocol):
    """What of the watcher is needed to try a file."""

    settings: FileSettings
    contents: Contents

    def area(self, source: Source) -> Area:
        """The place."""
        ...

    def modified(self, mtime: int) -> datetime | None:
        """A file's time of change."""
        ...

    def described(self) -> list[str]:
        """What there is to say of the place, once it was looked at."""
        ...


async def sample(watcher: Reading, source: Source, tell: Callable[[str], None], *, given: Path | None) -> None:
    """Read the file that would be read first, or the one given. Raises ``BadArguments`` where there is none."""
    area = watcher.area(source) if given is None else _beside(given)
    try:
        found = await _look(watcher, area, tell, given=given, now=source.clock.now())
        if not found:
            return
        first = min(found, key=lambda one: (one.version.mtime, one.path))
        tell(f"reading {shown(first.path)} ({first.version.size} bytes)")
        size, mtime = first.version
        entry = Entry(state=SEEN, size=size, mtime=mtime, since=0, again=True)
        complete = Completeness(watcher.settings if given is None else _unsigned(watcher.settings), area)
        peek, progress = partial(_peek, watcher.settings, tell), Progress(first.path, source)
        _, reason, state = await watcher.contents.read(first.path, entry, complete, source, progress, peek=peek)
        if state != DONE or reason:
            tell(f"{shown(first.path)} would be {state}" + (f": {reason}" if reason else ""))
    finally:
        await area.close()


def _peek(settings: FileSettings, tell: Callable[[str], None], spool: Spool) -> None:
    """Say so where the file seems to be something else than the settings say."""
    guess: Guess | None = None if settings.decrypt is not None else otherwise(settings.format, spool.reader())
    if guess is not None:
        tell(f"by its content the file would be read with: {guess.line}")


async def _look(
    watcher: Reading, area: Area, tell: Callable[[str], None], *, given: Path | None, now: datetime
) -> list[Listed]:
    wanted, seen, refused, count = Completeness(watcher.settings, area), Found(), 0, 0
    found: list[Listed] = []
    async with aclosing(area.listing()) as pages:
        async for page in pages:
            matching = page if given is not None else wanted.files(page)
            seen.saw(matching)
            for listed in matching:
                count += 1
                refused += listed.fault is not None
                found += [listed] if listed.fault is None else []
            found = sorted(found, key=lambda one: (one.version.mtime, one.path))[:_NAMED]
    if given is not None:
        if not found:
            raise BadArguments(f"{given} is no plain file")
        return found
    for sentence in watcher.described():
        tell(sentence)
    some = ", ".join(shown(one.path) for one in found)
    more = f" ({some}{', ...' if count - refused > len(found) else ''})" if found else ""
    tell(
        f"{several(count, 'files')} {'matches' if count == 1 else 'match'}{more}"
        + (f"; {refused} of them are never read" if refused else "")
    )
    if (dated := dated_ahead(watcher.modified(seen.newest), now)) is not None:
        tell(f"the newest of them is {dated}: one of the two clocks is wrong (no file's date is relied on)")
    return found


def _beside(given: Path) -> Area:
    whole = given.absolute()
    return Folder(whole.parent, wanted=Patterns([glob.escape(whole.name)]), depth=0)


def _unsigned(settings: FileSettings) -> FileSettings:
    """A file that is handed over brings no marker and no checksum."""
    return msgspec.structs.replace(settings, marker=None, checksum=None)
