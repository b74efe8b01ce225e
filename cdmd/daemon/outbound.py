"""The targets as parts of the daemon: made by their plugins, handed to the dispatcher, shown, and steered by commands.

``Outbound`` fulfils ``cdmd.control.needs.Targets``.
"""

import random
from collections.abc import Collection, Mapping
from datetime import datetime
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Final

import anyio
import anyio.abc
import msgspec

from cdmd.config.schema import Config
from cdmd.contracts import DELIVER, Clock, DeliveringTarget, Duties, Holder, Witness
from cdmd.control.protocol import ReloadRow
from cdmd.control.target_shapes import TargetRow, Tried
from cdmd.daemon.replays import Replays
from cdmd.deliveries.dispatching import Built, Dispatcher, Live, off
from cdmd.deliveries.outlets import HttpMaker
from cdmd.deliveries.replaying import Asked
from cdmd.deliveries.standing import standing
from cdmd.errors import BadArguments, CdmdError, ConfigInvalid, NotFound
from cdmd.kit.globs import Globs
from cdmd.kit.quantities import Rate
from cdmd.kit.ulid import ulid
from cdmd.models import Delivered, Delivery, Micros, TargetTotals, from_micros, show_time, to_micros
from cdmd.plugins import Plugins
from cdmd.profiles.audiences import Audiences
from cdmd.profiles.telling import ToldValues
from cdmd.store.stored import StoredStore

SAMPLE: Final = "cdmd.test"
"""The type of what ``cdmctl targets test`` sends."""

_GONE: Final = ("gone", "it is no longer configured; what waits for it is dropped with: cdmctl targets forget")


class Outbound:
    """Every target of the configuration. ``dispatcher`` does the work.

    Where nodes divide them only those that are this one's part: it is the ``cdmd.daemon.dividing.Work`` of that.
    """

    def __init__(
        self,
        store: StoredStore,
        *,
        journal_id: str,
        plugins: Plugins,
        http: HttpMaker,
        clock: Clock,
        scratch: Path,
        audiences: Audiences,
        witness: Witness | None = None,
    ) -> None:
        self._divided, self._here = isinstance(store, Duties), frozenset[str]()
        self._built: Mapping[str, Built] = {}
        self._holders: Mapping[str, Holder] = {}
        self._store, self._plugins, self._clock, self._journal_id = store, plugins, clock, journal_id
        self.dispatcher = Dispatcher(
            store,
            journal_id=journal_id,
            http=http,
            clock=clock,
            scratch=scratch,
            values=ToldValues(audiences, {}),
            chance=random.random,
            witness=witness,
        )
        if isinstance(store, Duties):
            self.dispatcher.may = partial(store.holds, DELIVER)
        store.outbox.written = self.dispatcher.wake
        self.replays = Replays(store, self.dispatcher, journal_id=journal_id, clock=clock)

    # ---- running -----------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Learn how the endpoints were before the restart. Raises CdmdError."""
        await self.dispatcher.load()

    def plan(self, config: Config) -> dict[str, Built]:
        """Every target made. Raises ConfigInvalid with every mistake; nothing is changed here."""
        built: dict[str, Built] = {}
        problems: list[str] = []
        for name, one in config.targets.items():
            try:
                built[name] = Built(one, self._plugins.target(one.frame.type, name, one.settings))
            except ConfigInvalid as error:
                problems += [f"{one.file}: {problem}" for problem in error.problems]
        if problems:
            raise ConfigInvalid(problems)
        return built

    def take(self, built: Mapping[str, Built], audiences: Audiences, config: Config) -> None:
        """What batches send from now on."""
        self.dispatcher.take(built, ToldValues(audiences, config.indicators))
        self.replays.take(built)

    async def carry_out(self, built: Mapping[str, Built]) -> list[ReloadRow]:
        """Exchange the targets themselves; says of each what became of it."""
        async with self.dispatcher.changing.change():
            self._built = built
            exchanged = await self.dispatcher.carry_out(self._part())
            await self.replays.drop_others(built)
            await self.replays.take_up()
        return [ReloadRow(name=name, verdict=one.verdict, problem=one.problem) for name, one in sorted(exchanged.items())]

    def _part(self) -> dict[str, Built]:
        return {name: one for name, one in self._built.items() if not self._divided or name in self._here}

    # ---- one node's part -----------------------------------------------------------------------------------------------

    @property
    def names(self) -> Collection[str]:
        """See ``Work.names``."""
        return self._built.keys()

    @property
    def here(self) -> Collection[str]:
        """See ``Work.here``: one that is not configured any more until it is ended."""
        return self._here

    @property
    def followed(self) -> Collection[str]:
        """See ``Work.followed``: what is noted of deliveries goes by rows, and by no token."""
        return ()

    async def begin(self, name: str, token: int) -> None:
        """See ``Work.begin``."""
        async with self.dispatcher.changing.change():
            await self.dispatcher.relearn()
            self._here |= {name}
            try:
                await self.dispatcher.carry_out(self._part())
            except CdmdError:
                self._here -= {name}  # what is not here is begun again
                raise
            await self.replays.take_up()

    async def end(self, name: str) -> None:
        """See ``Work.end``."""
        async with self.dispatcher.changing.change():
            await self.replays.leave(name)
            self._here -= {name}
            await self.dispatcher.carry_out(self._part())

    def seen(self, holders: Mapping[str, Holder]) -> None:
        """See ``Work.seen``."""
        self._holders = holders
        self.dispatcher.elsewhere = {name: _elsewhere(holders.get(name)) for name in self._built if name not in self._here}

    def sender(self, name: str) -> str | None:
        """The node that sends to it, where several could and one does."""
        holder = self._holders.get(name)
        return None if holder is None else holder.node

    def said(self, name: str) -> str:
        """See ``Work.said``."""
        return self.dispatcher.problem(name) or ""

    async def run(self, *, task_status: "anyio.abc.TaskStatus[None]" = anyio.TASK_STATUS_IGNORED) -> None:
        """Send until cancelled."""
        async with anyio.create_task_group() as tasks:
            self.replays.tasks = tasks
            await tasks.start(self.dispatcher.run)
            task_status.started()

    async def close(self) -> None:
        """Stop sending; what is not sent waits."""
        await self.dispatcher.close()

    async def expire(self, before: Micros) -> int:
        """Forget attempts, and what was set aside, older than that. Raises CdmdError."""
        return await self._store.outbox.expire(before=before)

    # ---- commands ----------------------------------------------------------------------------------------------------

    async def rows(self) -> list[TargetRow]:
        """Each one, configured or gone. Raises CdmdError."""
        totals = {one.name: one for one in await self._store.outbox.totals()}
        lives = {live.built.config.name: live for live in self.dispatcher}
        if self._divided:
            await self.dispatcher.relearn()
        return [
            self._row(name, lives.get(name), totals.get(name) or TargetTotals(name=name))
            for name in sorted({*totals, *lives, *self._built})
        ]

    def _row(self, name: str, live: Live | None, total: TargetTotals) -> TargetRow:
        note = self.dispatcher.note(name)
        built = self._built.get(name)
        holder = self._holders.get(name) or Holder(None)
        state, reason = self._standing(name, live)
        until = from_micros(note.until) if note.until > to_micros(self._clock.now()) else None
        details = [None if live is None else live.outlet.detail, self.replays.said(name)]
        return TargetRow(
            name=name,
            type=None if built is None else built.config.frame.type,
            state=state,
            reason=reason,
            since=_moment(note.since),
            next=live.outlet.next if live is not None and live.outlet.next is not None else until,
            failing_since=_moment(note.failing_since),
            last_success=_moment(note.last_success),
            waiting=total.waiting,
            waiting_bytes=total.bytes,
            failed=total.failed,
            delivered=total.delivered,
            attempts=total.attempts,
            never=total.never,
            dropped=total.dropped,
            full_since=_moment(total.full_since),
            untold=total.untold,
            fault=total.fault,
            detail="; ".join(filter(None, details)) or None,
            node=holder.node,
        )

    def _standing(self, name: str, live: Live | None) -> tuple[str, str | None]:
        if live is not None:
            return self.dispatcher.standing(name)
        if (built := self._built.get(name)) is None:
            return _GONE
        holder = self._holders.get(name)
        return standing(self.dispatcher.note(name), off=off(built), problem=holder.said or None if holder else None)

    async def enable(self, name: str) -> str | None:
        """See ``Targets``."""
        live = self.dispatcher.get(name)
        await self.dispatcher.enable(name)
        if not live.built.config.frame.enabled:
            return f"nothing is sent all the same: targets.{name}.enabled is false in the configuration"
        return None

    async def disable(self, name: str) -> None:
        """See ``Targets``."""
        await self.dispatcher.disable(name)

    async def attempt(self, name: str) -> Tried:
        """See ``Targets``."""
        live = self.dispatcher.get(name)
        if live.sender is None or not isinstance(live.built.target, DeliveringTarget):
            raise BadArguments(f"{name} is not sent to at once; let it go with: cdmctl targets send {name}")
        began = self._clock.monotonic()
        (verdict,) = await live.sender.verdicts([_sample(name, self._clock.now())])
        if isinstance(verdict, Delivered):
            self.dispatcher.hurry(name)
        said = verdict.answer[:1000].decode("utf-8", "backslashreplace")
        return Tried(
            target=name,
            outcome=type(verdict).__name__.lower(),
            status=verdict.status,
            seconds=round(self._clock.monotonic() - began, 3),
            reason=None if isinstance(verdict, Delivered) else verdict.reason,
            answer=said or None,
        )

    def hurry(self, name: str | None) -> None:
        """See ``Targets``."""
        self.dispatcher.hurry(name)

    async def send(self, name: str) -> None:
        """See ``Targets``."""
        live = self.dispatcher.get(name)
        if live.sender is not None:
            raise BadArguments(f"{name} is sent to as soon as there is something: it waits for no time")
        live.outlet.wake()

    async def forget(self, name: str) -> int:
        """See ``Targets``."""
        if name in self._built:
            raise BadArguments(f"{name} is configured: take it out of the configuration first")
        if name not in {one.name for one in await self._store.outbox.totals()}:
            raise NotFound(f"there is no target {name!r}, and nothing waits for one of that name")
        return await self._store.outbox.forget(name)

    async def replay(self, name: str, *, since: Micros, until: Micros, types: Globs | None, rate: Rate | None) -> None:
        """See ``Targets``."""
        self.replays.begin(name, _asked(since=since, until=until, types=types, rate=rate))

    async def stop_replay(self, name: str) -> int:
        """See ``Targets``."""
        return await self.replays.stop(name)

    async def would_replay(self, name: str, *, since: Micros, until: Micros, types: Globs | None, rate: Rate | None) -> int:
        """See ``Targets``."""
        return await self.replays.count(name, _asked(since=since, until=until, types=types, rate=rate))


def _asked(*, since: Micros, until: Micros, types: Globs | None, rate: Rate | None) -> Asked:
    return Asked(
        since=since, until=until, types=None if types is None else types.patterns, rate=None if rate is None else str(rate)
    )


def _elsewhere(holder: Holder | None) -> str:
    if holder is None or holder.node is None:
        return "is sent to by no node now: start one with the role deliver (cdmctl status shows them)"
    return f"is sent to by the node {holder.node}: give the command there"


def _sample(name: str, now: datetime) -> Delivery:
    """What a test sends: it is about nobody, and each one is another."""
    at = to_micros(now)
    body = {"type": SAMPLE, "timestamp": show_time(now), "data": {"target": name, "text": "a sample that is about nobody"}}
    return Delivery(
        id=ulid(at, blake2b(f"{name}:{at}".encode(), digest_size=10).digest()),
        target=name,
        type=SAMPLE,
        at=at,
        body=msgspec.json.encode(body),
    )


def _moment(micros: int | None) -> datetime | None:
    return from_micros(micros) if micros else None
