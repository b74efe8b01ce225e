"""Who runs beside whom, where tests run in several processes: a lock on files that readers share and one has for itself."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Turns:
    """Locks in ``folder``. Whoever waits to be alone holds the gate meanwhile, so that no stream of others keeps it waiting."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._gate, self._room = folder / "gate.lock", folder / "room.lock"

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Beside others that say the same."""
        with self._held(fcntl.LOCK_SH):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While nobody else is in the room."""
        with self._held(fcntl.LOCK_EX):
            yield

    @contextmanager
    def _held(self, how: int) -> Iterator[None]:
        with self._room.open("w") as room:
            with self._gate.open("w") as gate:
                fcntl.flock(gate, fcntl.LOCK_EX)
                fcntl.flock(room, how)
            yield
