"""Telling a target once more what it was told: from the stored events and the last times that somebody entered or left.

Under the ids of the first time, with the profiles as they are now. Not replayed: merges, erasures and crossed values, of which
nothing is kept that would say the same again.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import anyio
import msgspec
import structlog

from cdmd.config.news import CREATED, ENTERED, LEFT, NEWS, UPDATED
from cdmd.config.outbound import TargetConfig
from cdmd.contracts import Clock, Store, Values
from cdmd.deliveries.subscribing import Subscriptions
from cdmd.deliveries.telling import Happened, Telling
from cdmd.errors import CdmdError
from cdmd.kit.globs import Globs
from cdmd.kit.quantities import Rate
from cdmd.kit.ratelimit import FULL, Allowance, Granted, take
from cdmd.models import (
    Activity,
    Delivery,
    Micros,
    Notice,
    Outgoing,
    ProfileKey,
    ProfileState,
    Seq,
    from_micros,
    show_time,
    to_micros,
)

_PAGE: Final = 200
_NOTICES: Final = 100_000
_AGAIN: Final = (CREATED, UPDATED, ENTERED, LEFT)
_REST: Final = 0.02
_FULL_REST: Final = 1.0
_KEPT_EVERY: Final = 5.0
_GRACE: Final = 1.0
_NOTE: Final = "replay: "
_ENCODE: Final = msgspec.json.encode


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be told again: what was received then, of these types, so fast. ``done`` messages are, up to ``after``."""

    since: Micros
    until: Micros
    types: tuple[str, ...] | None = None
    rate: str | None = None
    after: Seq = Seq(0)
    done: int = 0


async def left_of(store: Store, target: str) -> Asked | None:
    """What a replay to that target has still to tell, which a stop or another node's turn interrupted. Raises CdmdError."""
    noted = await store.noted(_NOTE + target)
    return msgspec.json.decode(noted, type=Asked) if noted else None


async def drop(store: Store, target: str, *, gone: bool = False) -> None:
    """None to that target goes on any more; ``gone`` where nobody sends to it. Raises CdmdError."""
    await store.note(_NOTE + target, "", target=None if gone else target)


class Replaying:
    """One replay. ``done`` counts what was put back into the outbox; with ``only_counted`` nothing is, it counts by type.

    What waited for its turn is made anew when that comes: somebody may have been erased meanwhile, or the target have changed.
    ``reached`` is up to when it came: what happened before was told. Audience changes, which are told after all events, keep it
    at the beginning. How far it is is noted now and then, so that it goes on there; some of it may then be told once more.
    """

    def __init__(
        self, store: Store, config: TargetConfig, values: Values, asked: Asked, *, journal_id: str, clock: Clock
    ) -> None:
        self._store, self._clock, self._asked = store, clock, asked
        self._since, self._until, self._after = asked.since, asked.until, asked.after
        self._types = None if asked.types is None else Globs(asked.types)
        self._name, self._journal_id = config.name, journal_id
        self._allowance = None if asked.rate is None else Allowance.quota(Rate.parse(asked.rate))
        self._bucket = FULL
        self._over, self._here, self._ended = anyio.CancelScope(), anyio.CancelScope(), anyio.Event()
        self._kept_at = clock.monotonic()
        self.done, self.reached = asked.done, asked.since
        self.only_counted: Counter[str] | None = None
        self._log: Any = structlog.get_logger()
        self.take(config, values)

    def take(self, config: TargetConfig | None, values: Values) -> None:
        """Tell by these from now on. It ends where the target is none any more (None), or is told of no events."""
        self._wanted = Subscriptions([] if config is None else [config], values, journal_id=self._journal_id)
        if not self._wanted:
            self._over.cancel()

    async def stop(self) -> None:
        """It is over when this returns."""
        self._over.cancel()
        await self._ended.wait()

    async def leave(self) -> None:
        """When this returns it goes on elsewhere, or later."""
        self._here.cancel()
        await self._ended.wait()

    async def run(self) -> bool:
        """All of it, in order; whether it came to its end. Raises CdmdError."""
        with self._over:
            async for activity, state in self._activities():
                await self._put(self._event(activity, state), partial(self._event_now, activity.seq))
                self._after = activity.seq
                if self._clock.monotonic() - self._kept_at >= _KEPT_EVERY:
                    await self.keep()
            for notice in await self._moves():
                await self._put(await self._notice(notice), partial(self._notice, notice))
        return not self._over.cancel_called

    async def keep(self) -> None:
        """Note how far it is. Raises CdmdError."""
        if self.only_counted is None:
            noted = msgspec.structs.replace(self._asked, after=self._after, done=self.done)
            await self._store.note(_NOTE + self._name, _ENCODE(noted).decode(), target=self._name)
            self._kept_at = self._clock.monotonic()

    async def logged(self) -> None:
        """All of it. Where it does not come to its end the log says how far it came: another can be begun there.

        What is noted of it stays only where it was interrupted.
        """
        whole, interrupted = False, True
        try:
            with self._here:
                await self.keep()
                whole = await self.run()
                interrupted = False
        except CdmdError as error:
            self._log.warning("replay_failed", target=self._name, error=error)
            interrupted = False
        finally:
            with anyio.move_on_after(_GRACE, shield=True), suppress(CdmdError):
                await (self.keep() if interrupted else drop(self._store, self._name))
            self._ended.set()
            if whole:
                self._log.info("replay_ended", target=self._name, count=self.done)
            else:
                until = show_time(from_micros(self.reached))
                self._log.warning("replay_stopped", target=self._name, count=self.done, until=until)

    # ---- what there is to tell -----------------------------------------------------------------------------------------

    def _event(self, activity: Activity, state: ProfileState | None) -> Outgoing | None:
        if activity.profile is not None and state is None:
            return None  # of somebody who is being erased
        telling = Telling(self._wanted)
        happened = Happened(activity.event, activity.seq, activity.time, _received(activity), activity.rule)
        profile = None if activity.profile is None or state is None else (activity.profile, state)
        telling.event(happened, profile, ())
        return telling.outgoing()

    async def _event_now(self, seq: Seq) -> Outgoing | None:
        for activity, state in await self._store.outbox.applied(Seq(seq - 1), limit=1):
            if activity.seq == seq:
                return self._event(activity, state)
        return None

    async def _notice(self, notice: Notice) -> Outgoing | None:
        telling = Telling(self._wanted)
        for key, state in await self._store.membership.profiles(after=_before(notice), limit=1):
            if key == notice.profile:
                telling.notice(notice, state)
        return telling.outgoing()

    async def _activities(self) -> AsyncIterator[tuple[Activity, ProfileState | None]]:
        after = max(await self._first(), self._after)
        while page := await self._store.outbox.applied(after, limit=_PAGE):
            for activity, state in page:
                if self._since <= _received(activity) < self._until:
                    self.reached = self._since if self._tells_moves() else _received(activity)
                    yield activity, state
            after = page[-1][0].seq
            if _received(page[0][0]) >= self._until:
                return
            await self._clock.sleep(_REST)

    async def _first(self) -> Seq:
        """The sequence number behind which everything received since then is, by halves: they grow with the receipt."""
        low, high = 0, int(self._store.position)
        while low < high:
            middle = (low + high) // 2
            found = await self._store.outbox.applied(Seq(middle), limit=1)
            if found and _received(found[0][0]) < self._since:
                low = middle + 1
            else:
                high = middle
        return Seq(low)

    async def _moves(self) -> Sequence[Notice]:
        if not self._tells_moves():
            return ()
        notices = await self._store.membership.notices(limit=_NOTICES)
        return [one for one in reversed(notices) if self._since <= one.at < self._until]

    def _tells_moves(self) -> bool:
        return any(self._wanted.news[type_] and self._again(type_) for type_ in (ENTERED, LEFT))

    # ---- telling it ----------------------------------------------------------------------------------------------------

    async def _put(self, made: Outgoing | None, anew: Callable[[], Awaitable[Outgoing | None]]) -> None:
        """As the rate allows, and as there is room."""
        chosen = self._chosen(made)
        if self.only_counted is not None:
            self.only_counted.update(one.type for one in chosen)
            return
        for one in chosen:
            await self._turn()
            made = await anew()
            again = [each for each in self._chosen(made) if each.id == one.id]
            if made is not None and again:
                made = msgspec.structs.replace(made, deliveries=again, untold={})
                self.done += await self._store.outbox.put(made, now=to_micros(self._clock.now()))

    def _chosen(self, made: Outgoing | None) -> list[Delivery]:
        return [] if made is None else [one for one in made.deliveries if self._again(one.type)]

    async def _turn(self) -> None:
        """Wait until the next one may go."""
        while self._allowance is not None:
            verdict = take(self._allowance, self._bucket, self._clock.monotonic())
            if isinstance(verdict, Granted):
                self._bucket = verdict.state
                break
            await self._clock.sleep(verdict.seconds)
        while not await self._room():
            await self._clock.sleep(_FULL_REST)

    def _again(self, type_: str) -> bool:
        if type_ in NEWS and type_ not in _AGAIN:
            return False
        return self._types is None or self._types.matches(type_)

    async def _room(self) -> bool:
        """Whether less than half of what may wait does: what happens now goes before what happened then."""
        bound = self._wanted.bounds.get(self._name)
        for total in await self._store.outbox.totals():
            if bound is not None and total.name == self._name:
                return total.waiting * 2 < bound.waiting and total.bytes * 2 < bound.bytes
        return True


def _received(activity: Activity) -> Micros:
    return to_micros(activity.event.received)


def _before(notice: Notice) -> ProfileKey:
    return ProfileKey(notice.profile - 1)
