"""Who may write a lane of the store, and whether what was written last is really the last.

A transaction begins by moving the lane's ``version`` on, where its ``token`` is still this daemon's. That row stays locked
until it ends, so a daemon that was taken over writes nothing, however late it wakes up; and a commit whose answer was lost with
the connection is waited for, noticed, and not done twice. Not here: who should take a lane over.
"""

from collections.abc import Callable
from typing import Final

from cdmd.errors import Damaged, NotDurable
from cdmd.models import LANE, Seq
from cdmd.store.tables import Tables

_GONE: Final = "the store is damaged: it does not say up to where it is applied; mend it with a backup of the database"


class Fence:
    """For one lane. ``moved`` is told where the lane stands whenever that is not what was known."""

    def __init__(self, moved: Callable[[Seq], None]) -> None:
        self._moved = moved
        self._tenure: int | None = None
        self._version = 0

    def opened(self, tables: Tables) -> None:
        """On a new connection: take the lane over at first, later see that it is still ours and where it was left.

        Raises ``NotDurable``, where what was to be written must be chosen again, and ``Damaged``.
        """
        if self._tenure is not None:
            self._look(tables)
            return
        for seq, tenure, version in tables.rows("take", (LANE,)):
            self._tenure, self._version = tenure, version
            self._moved(Seq(seq))
            return
        raise Damaged(_GONE)

    def begin(self, tables: Tables) -> None:
        """The first statement of a transaction. Raises as ``opened`` does; nothing may be written then."""
        if tables.run("pass", (LANE, self._tenure, self._version)):
            return
        self._look(tables)
        raise NotDurable("the store was written meanwhile; what was to be applied must be chosen again")

    def committed(self) -> None:
        """That transaction is on the disk."""
        self._version += 1

    def _look(self, tables: Tables) -> None:
        for seq, tenure, version in tables.rows("standing", (LANE,)):
            if tenure != self._tenure:
                raise NotDurable("another cdmd has taken the store over; this one writes nothing any more: stop one of them")
            if version < self._version:
                raise Damaged(f"the store went back to position {seq}; restart cdmd: it applies what is missing again")
            if version > self._version:
                self._version = version
                self._moved(Seq(seq))
                raise NotDurable(f"the store had reached position {seq} after all; what was to be applied must be chosen again")
            return
        raise Damaged(_GONE)
