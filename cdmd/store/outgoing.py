"""Deliveries on their way: written with the batch that makes them, settled after an attempt. Functions for the writer's thread.

The figures of a target move in the transaction of its rows. Of a lane only the first has a moment at which it is due.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from cdmd.models import Attempt, Bound, Delivery, Micros, Outgoing, ProfileKey, Settled
from cdmd.store.rows import delivery_row
from cdmd.store.tables import Row, Tables

_SLICE: Final = 1_000
_UNBOUNDED: Final = Bound(2**62, 2**62)


class _Named(msgspec.Struct):
    """A target's number, what waits for it, and since when there is no room."""

    id: int
    waiting: int
    bytes: int
    full_since: int | None


def write_outgoing(tables: Tables, outgoing: Outgoing, *, now: Micros) -> int:
    """Put them behind what waits; what has no room is counted as dropped. Returns how many there was room for."""
    by_target: dict[str, list[Delivery]] = defaultdict(list)
    for one in outgoing.deliveries:
        by_target[one.target].append(one)
    targets = _named(tables, by_target.keys() | outgoing.untold.keys())
    kept = 0
    for name, deliveries in by_target.items():
        kept += _put(tables, targets[name], deliveries, bound=outgoing.bounds.get(name, _UNBOUNDED), now=now)
    for name, (count, fault) in outgoing.untold.items():
        tables.run("outbox.target_untold", (count, fault, targets[name].id))
    return kept


def _named(tables: Tables, names: Collection[str]) -> dict[str, _Named]:
    ordered = sorted(names)
    found = {row[0]: _Named(*row[1:]) for row in tables.rows_in("outbox.targets_named", ordered)}
    if len(found) < len(ordered):
        tables.run_many("outbox.add_target", [(name,) for name in ordered if name not in found])
        found = {row[0]: _Named(*row[1:]) for row in tables.rows_in("outbox.targets_named", ordered)}
    return found


def _put(tables: Tables, target: _Named, deliveries: Sequence[Delivery], *, bound: Bound, now: Micros) -> int:
    lanes = sorted({one.lane for one in deliveries if one.lane is not None})
    busy = _busy(tables, target.id, lanes)
    rows: list[tuple[Any, ...]] = []
    size = 0
    for one in deliveries:
        row = delivery_row(one, since=now)
        # Once there was no room for one, none that follows in the same batch goes in before it.
        if target.waiting + len(rows) >= bound.waiting or target.bytes + size + len(row[-1]) > bound.bytes:
            break
        due = now + bound.first if one.lane is None or one.lane not in busy else None
        if one.lane is not None:
            busy.add(one.lane)
        size += len(row[-1])
        rows.append((target.id, due, one.lane, *row))
    tables.insert("outbox.put", rows)
    dropped = len(deliveries) - len(rows)
    full = target.full_since
    if dropped and full is None:
        full = now
    tables.run("outbox.target_written", (len(rows), size, dropped, full, target.id))
    return len(rows)


def _busy(tables: Tables, target: int, lanes: Sequence[int]) -> set[int]:
    return {lane for (lane,) in tables.rows_in("outbox.busy_lanes", lanes, before=[target])}


def settle(
    tables: Tables, settled: Sequence[Settled], *, held: Callable[[Tables, Collection[str]], Collection[str]] | None = None
) -> None:
    """What became of each, in one transaction; of what is not in the outbox any more, as it was erased, only figures are kept.

    Of targets that are not among those which ``held`` says nothing is written: another node sends to them, and notes it.
    """
    with tables.transaction():
        if held is not None:
            ours = held(tables, {one.delivery.target for one in settled})
            settled = [one for one in settled if one.delivery.target in ours]
        names = _named(tables, {one.delivery.target for one in settled})
        places = [one.delivery.n for one in settled if one.delivery.n]
        there = {row[0]: row[1:] for row in tables.rows_in("outbox.still_waiting", places)}
        named = frozenset(there)
        moved: dict[int, dict[str, int]] = {one.id: defaultdict(int) for one in names.values()}
        lanes: dict[tuple[int, int], int] = {}
        for one in settled:
            figures = moved[names[one.delivery.target].id]
            figures["attempts"] += 1
            figures["delivered"] += one.attempt.outcome == "delivered"
            if one.delivery.n in there:
                target, lane, size = there[one.delivery.n]
                _move(tables, one, size, moved[target])
                if one.due is None:
                    del there[one.delivery.n]  # sent once more before this was written, it is among these twice
                    lanes |= {} if lane is None else {(target, lane): one.attempt.at}
        for (target, lane), now in sorted(lanes.items()):
            tables.run("outbox.next_in_lane", {"now": now, "target": target, "lane": lane})
        for number, figures in moved.items():
            said = dict.fromkeys(("left", "bytes", "failed", "delivered", "never", "attempts"), 0) | figures
            tables.run("outbox.target_settled", {**said, "id": number})
        _keep(tables, settled, names, named=named)


def _move(tables: Tables, one: Settled, size: int, figures: dict[str, int]) -> None:
    n, attempts = one.delivery.n, one.attempt.attempt
    if one.due is not None:
        tables.run("outbox.wait_on", (one.due, attempts, one.attempt.reason, n))
        return
    figures["left"] += 1
    figures["bytes"] += size
    if one.failed:
        figures["failed"] += 1
        tables.run("outbox.set_aside", (one.attempt.at, attempts, one.attempt.reason, n))
        return
    figures["never"] += one.attempt.outcome != "delivered"
    tables.run("outbox.leave_outbox", (n,))


def _keep(tables: Tables, settled: Iterable[Settled], names: Mapping[str, _Named], *, named: Collection[int]) -> None:
    """The attempts; whom they were about only of those at the places ``named``."""
    rows = [
        (
            *(one.at, names[one.target].id, one.id, one.type, one.attempt, one.outcome, one.profile, one.seq),
            *(one.seconds, one.status, one.reason, one.body, one.answer),
        )
        for one in (each.attempt if each.delivery.n in named else _of_nobody(each.attempt) for each in settled)
    ]
    tables.insert("outbox.put_attempts", rows)


def _of_nobody(one: Attempt) -> Attempt:
    """As ``blank_attempts`` leaves it."""
    return msgspec.structs.replace(one, id="", profile=None, seq=None, body=None, answer=None)


def retry(tables: Tables, *, target: str | None, id: str | None, limit: int, now: Micros) -> int:  # noqa: A002
    """What was set aside waits again, and what waits for a later attempt is due; returns how many."""
    with tables.transaction():
        said = {"target": target, "id": id, "limit": limit, "now": now}
        failed = tables.rows("outbox.to_retry_failed", said)
        waiting = tables.rows("outbox.to_retry_waiting", said | {"limit": limit - len(failed)})
        tables.run_many("outbox.retry", [(now, n) for (n,) in waiting])
        # Behind all that was written before: a file whose deliveries are being noted holds none of these.
        tables.run_many("outbox.wait_anew", [(now, n) for n, *_ in failed])
        tables.run_many("outbox.leave_outbox", [(n,) for n, *_ in failed])
        back: dict[int, list[int]] = defaultdict(list)
        for _, number, size in failed:
            back[number].append(size)
        moved = [(len(sizes), len(sizes), sum(sizes), number) for number, sizes in back.items()]
        tables.run_many("outbox.target_retried", moved)
    return len(failed) + len(waiting)


def expire(tables: Tables, before: Micros) -> int:
    """Forget some attempts, and some of what was set aside; returns how many rows went (0: there are no more)."""
    with tables.transaction():
        said = {"before": before, "limit": _SLICE}
        gone = tables.run("outbox.old_attempts", said)
        failed = tables.rows("outbox.old_failed", said)
        tables.run_many("outbox.leave_outbox", [(n,) for n, _ in failed])
        for number in {number for _, number in failed}:
            count = sum(1 for _, one in failed if one == number)
            tables.run("outbox.target_unfailed", (count, number))
    return gone + len(failed)


def forget(tables: Tables, target: str) -> int:
    """Drop some of what waits for a target, at the end the target; returns how many deliveries went (0: it is gone)."""
    with tables.transaction():
        places = tables.rows("outbox.some_of_target", (target, _SLICE))
        tables.run_many("outbox.leave_outbox", places)
        if not places:
            tables.run("outbox.drop_attempts", (target,))
            tables.run("outbox.drop_target", (target,))
    return len(places)


def erase_outgoing(tables: Tables, profiles: Collection[ProfileKey]) -> int:
    """Within a transaction: remove what waits about these profiles, and what their attempts held; returns how many rows."""
    keys = sorted(profiles)
    gone = _erase(tables, tables.rows_in("outbox.outbox_about", keys))
    return gone + tables.run_in("outbox.blank_attempts", keys)


def erase_deliveries(places: Sequence[int], tables: Tables) -> int:
    """What waits at these places goes; returns how many there were."""
    with tables.transaction():
        return _erase(tables, tables.rows_in("outbox.outbox_at", places))


def blank_attempts(places: Sequence[int], tables: Tables) -> int:
    """Of the attempts at these places only figures stay; returns how many there were."""
    with tables.transaction():
        return tables.run_in("outbox.blank_attempts_at", places)


def _erase(tables: Tables, rows: Sequence[Row]) -> int:
    figures: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    lanes: set[tuple[int, int]] = set()
    for n, target, lane, failed, size in rows:
        tables.run("outbox.leave_outbox", (n,))
        one = figures[target]
        one["failed" if failed else "waiting"] += 1
        one["bytes"] += 0 if failed else size
        if lane is not None:
            lanes.add((target, lane))
    for target, one in figures.items():
        tables.run("outbox.target_erased", (one["waiting"], one["bytes"], one["failed"], target))
    for target, lane in sorted(lanes):
        tables.run("outbox.next_in_lane", {"now": 0, "target": target, "lane": lane})
    return len(rows)
