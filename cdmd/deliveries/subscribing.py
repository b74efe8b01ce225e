"""Which target wants what, compiled from the configuration: an event of a type is looked up once for all that follow. Pure."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

from cdmd.config.news import CROSSED, NEWS, OF_TARGETS, STATES
from cdmd.config.outbound import TargetConfig, TargetFrame
from cdmd.contracts import Question, Values
from cdmd.deliveries.fields import Fields
from cdmd.errors import ConditionFault
from cdmd.kit.globs import Globs
from cdmd.models import Bound, Micros, ProfileKey, ProfileState

STRICT_LANE: Final = 0
_MOST_PLANS: Final = 4096


class Untold(Exception):
    """Raised where something is not sent for a reason that is counted; the message is the reason."""


class Subscription(NamedTuple):
    """What one target wants."""

    name: str
    globs: Globs
    question: Question | None
    fields: Fields
    purposes: tuple[str, ...]
    order: str
    bound: Bound
    of_targets: Globs

    def wants(self, told: Mapping[str, Any], state: ProfileState | None, values: Values, now: Micros) -> bool:
        """Whether this is sent to it. Raises Untold."""
        if not (not self.purposes if state is None else values.granted(state, self.purposes)):
            raise Untold("a purpose that it requires was not granted, or the processing is restricted")
        return self.holds(told, state, now)

    def holds(self, told: Mapping[str, Any], state: ProfileState | None, now: Micros) -> bool:
        """Whether its condition does. Raises Untold."""
        if self.question is None:
            return True
        scope = {"event": told, **({} if state is None else self.question.scope(state, now))}
        try:
            answer = self.question.condition.answer(scope)
        except ConditionFault as fault:
            raise Untold(str(fault)) from None
        if answer is None:
            raise Untold(f"{self.question.condition.text}: a value is missing (guard it with has())")
        return answer

    def lane(self, profile: ProfileKey | None) -> int | None:
        """In which lane a delivery about the profile goes."""
        if self.order == "strict":
            return STRICT_LANE
        return profile if self.order == "per_profile" else None


class Subscriptions:
    """What all targets want; false where there is nothing to send to anybody.

    ``running`` names the targets that take what waits by themselves: for them it is always in order.
    """

    def __init__(
        self, targets: Iterable[TargetConfig], values: Values, *, journal_id: str, running: Collection[str] = ()
    ) -> None:
        self.values, self.journal_id = values, journal_id
        self._all = tuple(
            _compiled(one.name, one.frame, values, running=one.name in running) for one in targets if one.frame.events
        )
        self._plans: dict[str, tuple[Subscription, ...]] = {}
        self.news = {type_: tuple(one for one in self._all if one.globs.matches(type_)) for type_ in NEWS}
        self.news |= {type_: tuple(one for one in self._all if one.of_targets.matches(type_)) for type_ in STATES}
        self.bounds = {one.name: one.bound for one in self._all}
        self.thresholds = values.thresholds if self.news[CROSSED] else {}

    def __bool__(self) -> bool:
        return bool(self._all)

    def of(self, type_: str) -> tuple[Subscription, ...]:
        """Who wants stored events of that type. The names of our own news are never those of an event."""
        plan = self._plans.get(type_)
        if plan is None:
            if len(self._plans) >= _MOST_PLANS:  # types come from outside: never remember without end
                self._plans.clear()
            plan = self._plans[type_] = tuple(one for one in self._all if type_ not in NEWS and one.globs.matches(type_))
        return plan

    @property
    def every(self) -> tuple[Subscription, ...]:
        """All of them."""
        return self._all


def _compiled(name: str, frame: TargetFrame, values: Values, *, running: bool) -> Subscription:
    return Subscription(
        name,
        Globs(frame.events),
        None if frame.where is None else values.question(frame.where),
        Fields.parse(frame.fields),
        frame.required_purposes,
        "strict" if running else frame.order,
        Bound(frame.max_waiting, frame.max_bytes.bytes, frame.retry[0].micros),
        Globs([glob for glob in frame.events if glob.startswith(OF_TARGETS)]),
    )
