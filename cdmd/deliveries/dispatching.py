"""All targets: each an independent task with its own client and state; exchanged by a reload.

Not here: sending to one (``sending``), how they are (``standing``), how they are shown (``cdmd.daemon.outbound``).
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import anyio
import anyio.abc
import anyio.to_thread
import msgspec
import structlog

from cdmd.config.outbound import TargetConfig
from cdmd.contracts import Clock, DeliveringTarget, RunningTarget, Store, Values, Witness
from cdmd.deliveries import endpoints
from cdmd.deliveries.announcing import Announcing
from cdmd.deliveries.outlets import HttpMaker, Opened, TargetOutlet
from cdmd.deliveries.sending import Sender
from cdmd.deliveries.settling import Settling
from cdmd.deliveries.standing import Standing, standing
from cdmd.deliveries.subscribing import Subscriptions
from cdmd.errors import BadArguments, CdmdError, NotFound
from cdmd.kit.changing import Changing
from cdmd.models import DeliveryVerdict, Micros, Settled, TargetNote, to_micros
from cdmd.supervisor import UNSTOPPABLE, ChildState, Supervisor

_NOTED_WITHIN: Final = 2.0
_SPENT: Final = {"failed", "degraded"}


class Built(msgspec.Struct, frozen=True):
    """A target (``cdmd.contracts.Target``) that is configured; None where its plugin is missing."""

    config: TargetConfig
    target: Any


class Exchanged(NamedTuple):
    """What became of a target when the configuration was taken anew; ``problem`` in words for the administrator."""

    verdict: Literal["unchanged", "started", "stopped", "restarted", "failed"]
    problem: str | None = None


class Live(msgspec.Struct, kw_only=True):
    """A target that is live: ``sender`` hands it its deliveries, where it takes them that way."""

    built: Built
    http: Opened
    outlet: TargetOutlet
    sender: Sender | None


class Dispatcher:
    """The targets as configured now. ``subscriptions`` is what they want; false where there are none."""

    def __init__(
        self,
        store: Store,
        *,
        journal_id: str,
        http: HttpMaker,
        clock: Clock,
        scratch: Path,
        values: Values,
        chance: Callable[[], float],
        witness: Witness | None = None,
    ) -> None:
        self._witness = witness
        self.may: Callable[[str], bool] = lambda name: True
        """Whether it is this node that sends to the target of that name, where several could."""
        self.elsewhere: Mapping[str, str] = {}
        """Targets that another node sends to, each with why it is not to be steered here."""
        self._store, self._http, self._clock, self._scratch = store, http, clock, scratch
        self._journal_id, self.values, self._chance = journal_id, values, chance
        self._live: dict[str, Live] = {}
        self._notes: dict[str, TargetNote] = {}
        self._unsaved: set[str] = set()
        self._saving = anyio.Event()
        self.changing = Changing()
        self.settling = Settling(store.outbox, clock=clock, done=self._settled)
        self.supervisor = Supervisor(clock=clock, random=self._chance, on_change=self._child_changed)
        self.subscriptions = Subscriptions((), values, journal_id=journal_id)
        self._announcing = Announcing(store, subscriptions=lambda: self.subscriptions, clock=clock)
        self.log: Any = structlog.get_logger()

    async def run(self, *, task_status: "anyio.abc.TaskStatus[None]" = anyio.TASK_STATUS_IGNORED) -> None:
        """Send until cancelled; targets come by ``carry_out``."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.settling.run, name="deliveries settled")
            tasks.start_soon(self._save, name="targets noted")
            await tasks.start(self.supervisor.run, name="targets")
            task_status.started()

    async def load(self) -> None:
        """Learn how the endpoints were before the restart. Raises CdmdError."""
        self._notes = await self._store.outbox.notes()

    async def relearn(self) -> None:
        """How the endpoints are to which others sent meanwhile. Raises CdmdError."""
        self._notes |= {name: note for name, note in (await self._store.outbox.notes()).items() if name not in self._live}

    # ---- exchanging ------------------------------------------------------------------------------------------------

    def take(self, built: Mapping[str, Built], values: Values) -> None:
        """From now on this is what batches send; the targets themselves follow with ``carry_out``."""
        self.values = values
        running = [name for name, one in built.items() if not isinstance(one.target, DeliveringTarget)]
        configs = [one.config for one in built.values()]
        self.subscriptions = Subscriptions(configs, values, journal_id=self._journal_id, running=running)

    async def carry_out(self, built: Mapping[str, Built]) -> dict[str, Exchanged]:
        """Stop what leaves or changed, start what is new or changed; says of each, by name, what became of it.

        Whoever calls it holds ``changing``. Raises ``Ending``.
        """
        found: dict[str, Exchanged] = {}
        for name in [name for name, live in self._live.items() if not _same(live.built, built.get(name))]:
            ended = await self._stop(name)
            after: Exchanged = Exchanged("restarted" if name in built else "stopped")
            found[name] = after if ended else Exchanged("failed", UNSTOPPABLE)
        for name, one in built.items():
            if name in self._live:
                found[name] = Exchanged("unchanged")
                continue
            if name in found:
                self.hurry(name)  # it was changed: what it was let alone for may be mended
            await self._start(name, one)
            self.changing.check()
            if one.target is None:
                found[name] = Exchanged("failed", off(one))
            found.setdefault(name, Exchanged("started"))
        return found

    async def _stop(self, name: str) -> bool:
        """Whether it ended."""
        live = self._live[name]
        ended = await self.supervisor.stop(name)
        # What it was answered is noted before another looks at what waits: else that would be sent again.
        await self.settling.flush(_NOTED_WITHIN)
        self.changing.check()  # whoever ends all may not have waited for this
        del self._live[name]
        self._announcing.end(name)
        live.outlet.close()
        await live.http.__aexit__()
        self.log.info("target_stopped", target=name)
        return ended

    async def close(self) -> None:
        """Stop all of them, at once; what was delivered is noted first."""
        async with self.changing.last():
            await self.supervisor.stop_all()
            await self.settling.flush(_NOTED_WITHIN)
            for live in self._live.values():
                live.outlet.close()
                await live.http.__aexit__()
            self._live.clear()

    async def _start(self, name: str, built: Built) -> None:
        http = await anyio.to_thread.run_sync(self._http, built.config.settings)  # it may read certificates
        self.changing.check()
        await http.__aenter__()
        outlet = TargetOutlet(
            name,
            built.config.frame,
            http=http,
            clock=self._clock,
            scratch=self._scratch / f"target-{name}",
            store=self._store,
            settling=self.settling,
            values=lambda: self.values,
            judge=partial(self._judge, name),
            changed=partial(self._look, name),
            chance=self._chance,
        )
        sender = None
        if isinstance(built.target, DeliveringTarget):
            sender = Sender(
                built.config.frame,
                built.target,
                outlet,
                outbox=self._store.outbox,
                settling=self.settling,
                note=partial(self.note, name),
                changed=partial(self._changed, name),
                chance=self._chance,
            )
            sender.may = partial(self.may, name)
        outlet.may = partial(self.may, name)
        self._live[name] = Live(built=built, http=http, outlet=outlet, sender=sender)
        self._run(name)
        self._announcing.begin(name, self.standing(name))
        self.log.info("target_started", target=name)

    def _run(self, name: str) -> None:
        live = self._live[name]
        target, kind = live.built.target, live.built.config.frame.type
        if not live.built.config.frame.enabled or target is None:
            self.supervisor.mark(name, "paused", off(live.built), kind=kind)
        elif live.sender is not None:
            self.supervisor.start(name, live.sender.run, kind=kind)
        elif isinstance(target, RunningTarget):
            paused = self.note(name).state == "disabled"
            self.supervisor.start(name, partial(target.run, live.outlet), kind=kind, paused=paused)

    # ---- how they are ----------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Live]:
        return iter(list(self._live.values()))

    def get(self, name: str) -> Live:
        """The live target of that name. Raises ``NotFound`` with the names there are, and ``BadArguments``."""
        try:
            return self._live[name]
        except KeyError:
            if (why := self.elsewhere.get(name)) is not None:
                raise BadArguments(f"{name} {why}") from None
            names = ", ".join(sorted(self._live)) or "none"
            raise NotFound(f"there is no target {name!r}; configured are: {names}") from None

    def note(self, name: str) -> TargetNote:
        """How the endpoint is."""
        return self._notes.get(name) or TargetNote()

    def standing(self, name: str) -> Standing:
        """How the live target of that name is. Raises ``NotFound``."""
        live = self.get(name)
        return standing(self.note(name), off=off(live.built), problem=self.problem(name))

    def problem(self, name: str) -> str | None:
        """What the live target of that name says of itself, or what ended its task. Raises ``NotFound``."""
        return self._spent(name) or self.get(name).outlet.problem

    def _spent(self, name: str) -> str | None:
        """What ended its task. While a target is exchanged there is none, though what it was answered is still being noted."""
        try:
            child = self.supervisor.state(name)
        except NotFound:
            return None
        return child.error if child.state in _SPENT else None

    async def enable(self, name: str) -> None:
        """Send again; all that was held against the endpoint is forgotten. Raises ``NotFound`` and ``NotDurable``."""
        async with self.changing.change():
            live = await self._set(name, endpoints.enabled(self.note(name), self._now()))
            if live.sender is None and isinstance(live.built.target, RunningTarget):
                self.supervisor.resume(name)

    async def disable(self, name: str) -> None:
        """Send nothing until it is enabled. Raises ``NotFound`` and ``NotDurable``."""
        async with self.changing.change():
            live = await self._set(name, endpoints.disabled(self.note(name), self._now(), "by an administrator"))
            if live.sender is None and isinstance(live.built.target, RunningTarget):
                await self.supervisor.pause(name)

    async def _set(self, name: str, note: TargetNote) -> Live:
        live = self.get(name)
        await self._store.outbox.note(name, note)
        self._changed(name, note)
        return live

    def hurry(self, name: str | None) -> None:
        """Let the target (None: any) be tried now, although it was to be let alone for a while."""
        for one in [name] if name is not None else list(self._live):
            if self.note(one).until:
                self._changed(one, msgspec.structs.replace(self.note(one), until=0))

    def wake(self, names: Collection[str]) -> None:
        """Something was written for these."""
        for name in names:
            live = self._live.get(name)
            if live is not None and live.sender is not None:
                live.sender.wake()

    def refresh(self) -> None:
        """What waits is other than it was, where something was erased or dropped."""
        for live in self._live.values():
            if live.sender is not None:
                live.sender.refresh()

    def _settled(self, settled: Sequence[Settled]) -> None:
        if self._witness is not None:
            self._witness.settled(settled)
        by_target: dict[str, list[Settled]] = {}
        for one in settled:
            by_target.setdefault(one.delivery.target, []).append(one)
        for name, found in by_target.items():
            live = self._live.get(name)
            if live is not None and live.sender is not None:
                live.sender.noted(found)

    def _judge(self, name: str, verdict: DeliveryVerdict) -> None:
        before = self.note(name)
        after = endpoints.judged(before, verdict, self._now(), chance=self._chance())
        if after != before:
            self._changed(name, after)

    def _changed(self, name: str, note: TargetNote) -> None:
        before = self.note(name)
        self._notes[name] = note
        self._look(name)
        if endpoints.remembered(before, note):
            self._unsaved.add(name)
            self._saving.set()
        live = self._live.get(name)
        if live is not None and live.sender is not None and (note.state, note.until) != (before.state, before.until):
            live.sender.wake()

    def _look(self, name: str) -> None:
        """It may be other than it was."""
        live = self._live.get(name)
        if live is not None and self._announcing.look(name, live.built.config.frame.type, self.standing(name)):
            self._saving.set()

    async def _save(self) -> None:
        """Keep what has to survive a restart, soon; where that fails, with the next change."""
        while True:
            await self._saving.wait()
            self._saving = anyio.Event()
            # Before what they tell of is kept: after a kill in between they are told twice, and never not at all.
            await self._announcing.tell()
            while self._unsaved:
                name = self._unsaved.pop()
                try:
                    await self._store.outbox.note(name, self._notes[name])
                except CdmdError as error:
                    self.log.warning("target_not_noted", target=name, error=error)

    def _child_changed(self, child: ChildState) -> None:
        if child.error:
            self.log.warning("target_task", target=child.name, state=child.state, error=child.error)
        self._look(child.name)

    def _now(self) -> Micros:
        return to_micros(self._clock.now())


def _same(one: Built, other: Built | None) -> bool:
    return other is not None and (one.config.frame, one.config.settings) == (other.config.frame, other.config.settings)


def off(built: Built) -> str | None:
    """Why nothing is sent at all, where that is so."""
    if built.target is None:
        return getattr(built.config.settings, "unavailable", None) or "its plugin is missing"
    return None if built.config.frame.enabled else "in the configuration"
