"""Who alone may do something for a while, of several daemons. The contract's tests are ``tests/cluster/contract_leases.py``."""

from collections.abc import Mapping
from typing import Protocol

import msgspec


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """That ``name`` is ours. ``token`` is greater than that of everybody who had it before: what is written goes with it."""

    name: str
    token: int
    seconds: float


class Leases(Protocol):
    """Compare-and-set with expiry; nobody is told, whoever wants one asks again.

    Promise: two never hold the same name at the same time by clocks that run equally fast. A holder that slept over its end may
    still believe for a moment that it holds it (``holds``, then a pause, then a write): so whatever is written is refused by
    its receiver where a greater token was there before. Raise ``NotDurable`` where nobody can be asked.
    """

    async def take(self, name: str, *, seconds: float) -> Lease | None:
        """Have ``name`` for so long, with a new token; None while somebody else has it.

        Of somebody who is gone it is had after their lease's length without a sign of them, counted from the first asking.
        """
        ...

    async def renew(self, lease: Lease) -> Lease | None:
        """For as long again, with the same token; None where it is ours no more."""
        ...

    async def release(self, lease: Lease) -> None:
        """Let the next one have it at once. Nothing happens where it is ours no more."""
        ...

    def holds(self, lease: Lease) -> bool:
        """Whether it is ours by our own steady clock, with a margin: to be asked right before what only its holder may do."""
        ...

    async def holders(self) -> Mapping[str, str]:
        """Who has each name, as they call themselves, whether or not they are still there."""
        ...
