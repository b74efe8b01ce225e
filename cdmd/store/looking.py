"""What is asked of the store beside batches: who somebody is, what became of an event, what waits and is due.

Reads only, over the readers' connections, so a question never waits for a batch.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import zip_longest
from typing import Any, Final

import msgspec

from cdmd.contracts import ProfileFound, Trace
from cdmd.errors import Damaged
from cdmd.models import Digest, Merge, Micros, Parked, ProfileKey, ProfileState, Seen, SeenVerdict, Seq
from cdmd.store.letters import Digests
from cdmd.store.rows import read_activity, read_letter, read_merge, read_parked, read_profile
from cdmd.store.tables import Reading

_DUE_BYTES: Final = 16 * 2**20


async def seen(reading: Reading, digests: Sequence[Digest]) -> dict[Digest, Seen]:
    """Which of these occurrences are remembered."""
    return {row[0]: Seen(*row[1:]) for row in await reading.rows_in("seen", digests)}


async def known(reading: Reading, identifiers: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Which of these normalised identifiers belong to a profile."""
    by_kind: dict[str, list[str]] = defaultdict(list)
    for kind, value in identifiers:
        by_kind[kind].append(value)
    return {
        (kind, value) for kind, values in by_kind.items() for (value,) in await reading.rows_in("known", values, before=[kind])
    }


async def profile(reading: Reading, kind: str, value: str, *, activities: int) -> ProfileFound | None:
    """The profile that owns an identifier, with its newest ``activities``. Raises ``Damaged``."""
    rows = await reading.rows("owner", (kind, value))
    found = await winner(reading, ProfileKey(rows[0][0])) if rows else None
    if found is None:
        return None
    key, state = found
    keys = [key, *map(ProfileKey, state.members)]
    latest = await reading.rows("newest_activities", (msgspec.json.encode(keys).decode(), activities))
    mine = [read_activity(row) for row in latest]
    return ProfileFound(key=key, state=state, activities=mine, merges=await merges(reading, keys))


async def merges(reading: Reading, keys: Sequence[ProfileKey]) -> list[Merge]:
    """The merges of these winners, in order of sequence. Raises ``Damaged``."""
    return sorted(map(read_merge, await reading.rows_in("merges", keys)), key=lambda merge: merge.seq)


async def trace(
    reading: Reading,
    id: str,  # noqa: A002 - an event's own word
    *,
    source: str | None,
    digests: Digests,
) -> list[Trace]:
    """What became of the occurrences of that id, over all sources unless one is named. Raises ``Damaged``."""
    sources = [source] if source is not None else [name for (name,) in await reading.rows("sources")]
    names = {digests(one, id): one for one in sources}
    found = await seen(reading, list(names))
    ordered = sorted(found.items(), key=lambda pair: pair[1].seq)
    return [await _traced(reading, names[digest], one) for digest, one in ordered]


async def due(reading: Reading, now: Micros, *, limit: int, without: Collection[Seq]) -> list[Parked]:
    """Parked events that are due, extension by extension in turn.

    Also bounded in bytes, so that what is resumed at once does not depend on how large parked events are.
    """
    left_out = msgspec.json.encode(list(without)).decode()
    lines = [
        await reading.rows("due", {"extension": name, "now": now, "without": left_out, "limit": limit})
        for (name,) in await reading.rows("waited_for")
    ]
    chosen = _in_turns(lines, limit=limit, most=_DUE_BYTES)
    rows = {row[0]: row for row in await reading.rows_in("parked_at", chosen)}
    return [read_parked(rows[seq]) for seq in chosen if seq in rows]


async def winner(reading: Reading, key: ProfileKey) -> tuple[ProfileKey, ProfileState] | None:
    """The profile that ``key`` is part of now."""
    passed: set[int] = set()
    while key not in passed:
        passed.add(key)
        rows = await reading.rows_in("profiles", [key])
        if not rows:
            return None
        state = read_profile(rows[0])
        if state.merged_into is None:
            return key, state
        key = ProfileKey(state.merged_into)
    raise Damaged("the store is damaged: profiles are merged into each other in a circle; cdmctl verify says more")


async def _traced(reading: Reading, source: str, one: Seen) -> Trace:
    if one.verdict == SeenVerdict.APPLIED:
        for row in await reading.rows_in("activities", [one.seq]):
            activity = read_activity(row)
            now = None if activity.profile is None else await winner(reading, activity.profile)
            return Trace(source=source, seen=one, activity=activity, public=now[1].public if now else None)
    if one.verdict == SeenVerdict.DEAD:
        for row in await reading.rows_in("dead_letters_at", [one.seq]):
            return Trace(source=source, seen=one, dead=read_letter(row))
    if one.verdict == SeenVerdict.PARKED:
        for row in await reading.rows_in("parked_at", [one.seq]):
            return Trace(source=source, seen=one, parked=read_parked(row))
    return Trace(source=source, seen=one)


def _in_turns(lines: Sequence[Sequence[tuple[Any, ...]]], *, limit: int, most: int) -> list[Seq]:
    """The first of each line, then the second of each, ...: up to ``limit``, and to ``most`` bytes but for the first."""
    found: list[Seq] = []
    size = 0
    for turn in zip_longest(*lines):
        for seq, length in filter(None, turn):
            if len(found) == limit or (found and size + length > most):
                return found
            found.append(seq)
            size += length
    return found
