"""``Leases`` of a daemon that shares nothing: the state directory is held by one process, and everything is its own."""

from collections.abc import Mapping

from typing_extensions import override

from cdmd.contracts import Clock, Lease, Leases


class OwnLeases(Leases):
    """Nobody else is there; a lease that was not renewed ends all the same, so that the same code shows the same here."""

    def __init__(self, *, holder: str, clock: Clock) -> None:
        self._holder, self._clock = holder, clock
        self._last: dict[str, Lease] = {}
        self._until: dict[str, float] = {}

    @override
    async def take(self, name: str, *, seconds: float) -> Lease | None:
        before = self._last.get(name)
        lease = Lease(name=name, token=before.token + 1 if before is not None else 1, seconds=seconds)
        self._last[name], self._until[name] = lease, self._clock.monotonic() + seconds
        return lease

    @override
    async def renew(self, lease: Lease) -> Lease | None:
        if not self._is_last(lease):
            return None
        self._until[lease.name] = self._clock.monotonic() + lease.seconds
        return lease

    @override
    async def release(self, lease: Lease) -> None:
        if self._is_last(lease):
            del self._until[lease.name]

    @override
    def holds(self, lease: Lease) -> bool:
        return self._is_last(lease) and self._clock.monotonic() < self._until[lease.name]

    @override
    async def holders(self) -> Mapping[str, str]:
        return dict.fromkeys(self._until, self._holder)

    def _is_last(self, lease: Lease) -> bool:
        return lease.name in self._until and self._last[lease.name] == lease
