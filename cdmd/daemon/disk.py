"""The disk under the state directory: whether anything may be acknowledged, and how long its free space will last."""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from cdmd.errors import CdmdError

_MINUTE: Final = 60
_DAY: Final = 86_400
_ENOUGH_TO_JUDGE: Final = 600
_DATABASES: Final = ("journal.db", "store.db")


class Disk:
    """Free space (bytes) and how fast the databases in ``root`` grow. ``reserve`` (bytes) may be changed while it runs."""

    def __init__(self, root: Path, *, reserve: int) -> None:
        self._root, self.reserve = root, reserve
        self.free = 0
        self.kept = 0
        self.log_bytes: dict[str, int] = {}
        self._samples: list[tuple[float, int]] = []

    def measure(self, now: float) -> None:
        """Look at the disk; ``now`` in monotonic seconds. It blocks. Raises OSError."""
        self.free = shutil.disk_usage(self._root).free
        self.log_bytes = {name.partition(".")[0]: _size(self._root / f"{name}-wal") for name in _DATABASES}
        self.kept = sum(_size(self._root / name) for name in _DATABASES) + sum(self.log_bytes.values())
        if not self._samples or now - self._samples[-1][0] >= _MINUTE:
            self._samples = [one for one in self._samples if now - one[0] <= _DAY]
            self._samples.append((now, self.kept))

    def blocked(self) -> str | None:
        """Why nothing may be acknowledged, or None."""
        if self.free >= self.reserve:
            return None
        return f"the disk has {self.free >> 20} MiB free, less than journal.reserve ({self.reserve >> 20} MiB)"

    def check_backup(self, target: Path) -> None:
        """Raise ``CdmdError`` where a backup would have no room. It blocks.

        Copies lie in the state directory until they are in ``target``, and must not take what the journal needs to acknowledge.
        """
        needed = sum(_size(path) for path in self._root.glob("*.db*"))
        room, where = shutil.disk_usage(self._root).free - self.reserve, str(self._root)
        with suppress(OSError):  # whatever else is wrong with the target's folder is said by who writes there
            if target.parent.stat().st_dev == self._root.stat().st_dev:
                needed *= 2
            elif (free := shutil.disk_usage(target.parent).free) < needed:
                raise CdmdError(_no_room(needed, free, str(target.parent)))
        if needed > room:
            raise CdmdError(_no_room(needed, room, f"{where} beyond journal.reserve"))

    def room(self) -> int:
        """Bytes that may be used for a while without touching the reserve."""
        return max(0, self.free - self.reserve)

    def days_left(self, now: float) -> float | None:
        """At the rate of the last day; None while there is none to judge by (ten minutes, and growth)."""
        if not self._samples or now - self._samples[0][0] < _ENOUGH_TO_JUDGE:
            return None
        began, then = self._samples[0]
        per_day = (self.kept - then) / (now - began) * _DAY
        return max(0.0, (self.free - self.reserve) / per_day) if per_day > 0 else None


def _no_room(needed: int, there: int, where: str) -> str:
    told = f"a backup needs {-(-needed >> 20)} MiB, and there are {max(0, there) >> 20} MiB in {where}"
    return f"{told}: make room or name a file on another disk; nothing was written"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
