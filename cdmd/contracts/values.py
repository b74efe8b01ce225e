"""What is shown of a customer to a target: the room that projects hands it to the one that sends."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from cdmd.kit.conditions import Condition
from cdmd.models import Micros, ProfileState


class Question(Protocol):
    """A condition about a customer, compiled, with what it has to be told."""

    @property
    def condition(self) -> Condition:
        """The condition; it may speak of an ``event``, too."""
        ...

    def scope(self, state: ProfileState, now: Micros) -> dict[str, Any]:
        """``profile``, ``indicators`` and ``now``, no more of them than it reads."""
        ...


class Values(Protocol):
    """A profile's values as users see them. Pure."""

    @property
    def thresholds(self) -> Mapping[str, Sequence[float]]:
        """The values whose crossing is told, by indicator."""
        ...

    def question(self, where: str) -> Question:
        """The condition of a target, compiled. Raises ValueError."""
        ...

    def traits(self, state: ProfileState) -> dict[str, Any]:
        """The traits that have a value, by name."""
        ...

    def indicators(self, state: ProfileState, now: Micros) -> dict[str, Any]:
        """The value at ``now`` of every configured indicator that has one, by name."""
        ...

    def numbers(self, state: ProfileState, now: Micros, *, among: Collection[str]) -> dict[str, Any]:
        """The values of these at ``now``; a count, a sum and a number of different values are zero where nothing happened."""
        ...

    def touched(self, type: str) -> Collection[str]:  # noqa: A002 - an event's own word
        """The indicators that an event of that type may change."""
        ...

    def audiences(self, state: ProfileState) -> list[str]:
        """The configured audiences that the profile is in."""
        ...

    def granted(self, state: ProfileState, purposes: Sequence[str]) -> bool:
        """Whether the customer has granted all of these purposes."""
        ...
