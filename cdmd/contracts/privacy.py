"""Whose data may not be kept: how the rooms on an event's way ask for it, and what they need to know of identifiers."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from cdmd.models import Entry


class Screen(Protocol):
    """The suppression list, as the intake and the pipeline ask it. ``version`` is another one whenever the list changed.

    Version 0 is a list on which nobody is: then there is nothing to ask.
    """

    @property
    def version(self) -> int:
        """Which list this is."""
        ...

    def screened(self, entry: Entry) -> Entry | None:
        """The entry as far as it may be kept; None where nothing of it may be.

        Raises ``Overloaded`` where that cannot be told: then nothing may be acknowledged.
        """
        ...


class Naming(Protocol):
    """The configured kinds of identifiers (``cdmd.identity.identifiers.Kinds`` fulfils it)."""

    @property
    def names(self) -> Sequence[str]:
        """The kinds that join people, the strongest first."""
        ...

    @property
    def rewritten(self) -> Collection[str]:
        """The kinds whose one form need not stand in what arrived, be it in another case: phone numbers, digests."""
        ...

    def usable(self, identifiers: Mapping[str, str]) -> list[tuple[str, str]]:
        """The (kind, normalised value) pairs that may join people, strongest first."""
        ...

    def digests(self, pair: tuple[str, str]) -> list[tuple[str, str]]:
        """The digests that suppliers may deliver instead of this value."""
        ...

    def aliases(self, pair: tuple[str, str]) -> list[tuple[str, str]]:
        """The same, and its digest under its plain kind's name: the same whichever kinds of digests are configured."""
        ...

    def normalise(self, kind: str, value: str) -> tuple[str, str] | None:
        """The pair that a text of that kind stands for; None where it can be nobody's."""
        ...
