"""Which daemons apply one journal side by side, whose each lane is, and who may write what: fences for several writers.

A node is a row with a time that each of its transactions and looks puts off. Whoever finds one whose time is over removes it,
and its lanes are anybody's: so every transaction begins by moving the node's own row on, and of a node that woke up late that
row is not there. The time is the server's alone. A node has as many lanes as the others, one more or less, gives up what is too
much and takes what nobody has. Functions for the writer's thread. Not here: what is applied.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec
from typing_extensions import override

from cdmd.contracts import PULL, Node
from cdmd.errors import CdmdError, Damaged, NotDurable, NotOurs
from cdmd.models import LANE, Seq
from cdmd.store.postgres.tables import Fencing
from cdmd.store.tables import Row, Tables

SECONDS: Final = 10.0
"""How long nothing may be heard of a node before others take its lanes."""
_WRITING: Final = 0x63646D65
"""The advisory lock of all who write ("cdme"): batches of lanes share it, everything else has it alone."""


class Way(msgspec.Struct, frozen=True):
    """How a transaction goes: a ``batch`` of this node's lanes, or what only who leads writes (``desk``) or every node may.

    Beside others or ``alone``.
    """

    batch: bool = False
    alone: bool = True
    desk: bool = True


class Nodes(Fencing):
    """This node among the others. ``lanes`` are its own, each with its position, as of the last ``balance``.

    ``suppressions`` is which list of suppressed people it goes by; what is applied by another one than the store's is refused.
    One with a ``tenure`` leads, in place of whoever has a smaller one, and ``tells`` the others which list that is.
    ``settings`` is a digest of those that it goes by: while the node that leads has noted others as those in force, this one
    has no part.
    """

    def __init__(
        self, name: str, roles: Sequence[str], *, tenure: int | None = None, seconds: float = SECONDS, settings: str = ""
    ) -> None:
        self.name, self._all_roles, self._seconds, self.rests = name, roles, seconds, False
        self.settings = settings
        self.tenure = tenure
        self.tells: Callable[[], str] | None = None
        self.node: int | None = None
        self._version = 0
        self.lanes: Mapping[int, Seq] = {}
        self.undivided = Seq(0)
        self.way = Way()
        self.suppressions: str | None = None

    @contextmanager
    def going(self, way: Way) -> Iterator[None]:
        """Transactions go that way inside."""
        before, self.way = self.way, way
        try:
            yield
        finally:
            self.way = before

    # ---- the fence ---------------------------------------------------------------------------------------------------

    def opened(self, tables: Tables) -> None:
        """On a new connection: whether what was written last is really the last. Raises ``NotDurable`` and ``Damaged``."""
        if self.node is not None:
            self._look(tables)

    @override
    def begin(self, tables: Tables) -> None:
        """The first statements of a transaction. Raises ``NotDurable`` where nothing may be written then."""
        tables.rows("lanes.alone" if self.way.alone else "lanes.among_others", (_WRITING,))
        desk = self.way.desk and not self.way.batch
        said = {
            "node": self.node,
            "version": self._version,
            "desk": desk,
            "seconds": self._seconds,
            "settings": self.settings,
        }
        for suppressions, alike, leads in tables.rows("lanes.pass", said):
            if self.way.batch and self.tenure is not None and not leads:
                raise NotDurable("another node leads by now, and this one does not know whom that one erased: start it again")
            if self.way.batch and self.suppressions is not None and suppressions != self.suppressions:
                raise NotOurs("the list of who is suppressed is another one by now; it is read again")
            if self.way.batch and not alike:
                raise NotOurs("the settings of the node that leads are others by now; this one applies nothing with its own")
            self._tell(tables, suppressions)
            return
        self._look(tables)
        raise NotDurable("this is for the node to write that leads; this one does not")

    def _tell(self, tables: Tables, suppressions: str) -> None:
        """With the next that is written: nothing is removed of anybody before all others know that nothing may come anew."""
        if not self.way.batch and self.tells is not None and (mine := self.tells()) != suppressions:
            tables.run("note", ("note: suppressions", mine))

    @override
    def committed(self) -> None:
        """That transaction is on the disk."""
        self._version += 1

    def _look(self, tables: Tables) -> None:
        for (version,) in tables.rows("lanes.version", (self.node,)):
            if version < self._version:
                raise Damaged("the store went back to an earlier moment; restart cdmd: it applies what is missing again")
            if version > self._version:
                self._version = version
                self.lanes = _owned(tables, self.node)
                raise NotDurable("the store was written after all; what was to be applied must be chosen again")
            return
        self.node, self.lanes = None, {}
        raise NotDurable("nothing was heard of this node for too long, and others do its work; it begins again")

    def moved(self, seq: Seq) -> None:
        """All that this node has is applied up to there."""
        self.lanes = {lane: max(before, seq) for lane, before in self.lanes.items()}

    @property
    def _roles(self) -> str:
        """What it has a part in now."""
        return " ".join(role for role in self._all_roles if not (self.rests and role in {WORKS, PULL}))

    # ---- who there is ------------------------------------------------------------------------------------------------

    def look(self, tables: Tables) -> bool:
        """Say that this node is there, remove who is not any more; whether ``balance`` has something to do."""
        with tables.transaction():
            if not self.stays(tables):
                self.node = None  # whatever this node had is another one's, or anybody's
                return True
            self.bury(tables)
            share = self.share(tables, WORKS, len(tables.rows("lanes.lanes")))
            free = any(node is None for _, node in self._open(tables))
            mine = _owned(tables, self.node)
        return mine.keys() != self.lanes.keys() or len(mine) > share or (free and len(mine) < share)

    def balance(self, tables: Tables) -> None:
        """Join the others if this node is not among them; give up and take lanes. Nothing of this node may be under way."""
        self._end_still(tables)
        with tables.transaction():
            tables.rows("lanes.alone", (_WRITING,))
            if not self.stays(tables):
                ((self.node,),) = tables.rows("lanes.join", (self.name, self._roles, self.settings, self._seconds))
                tables.run("lanes.back", (self.name,))
                self._version = 0
            self.bury(tables)
            share, mine = self.share(tables, WORKS, len(tables.rows("lanes.lanes"))), list(_owned(tables, self.node))
            for lane in mine[share:]:
                tables.run("lanes.let_go", (lane, self.node))
            free = [lane for lane, node in self._open(tables) if node is None and lane not in mine]
            for lane in free[: max(0, share - len(mine))]:
                tables.run("lanes.take_lane", (self.node, lane))
            owned = _owned(tables, self.node)
            if self.tenure is not None and not tables.run("lanes.take_desk", (self.node, self.tenure)):
                raise NotDurable("another node leads by now: restart this one, and it goes on behind that one")
        self.lanes = owned

    def leave(self, tables: Tables) -> None:
        """The others need not wait for this node's time to be over."""
        with tables.transaction():
            tables.run("lanes.leave", (self.node,))
            tables.run("lanes.orphan")

    def report(self, tables: Tables, *, said: str) -> None:
        """Let the others know how this node is."""
        tables.run("lanes.report", (said, self.node))

    def known(self) -> Mapping[str, float]:
        """What ``nodes_of`` has to be asked with."""
        return {"seconds": self._seconds}

    def stays(self, tables: Tables) -> bool:
        """Within a transaction: say that this node is there; whether it still is one of them."""
        return self.node is not None and bool(tables.run("lanes.stay", (self._seconds, self.settings, self._roles, self.node)))

    def _open(self, tables: Tables) -> list[tuple[int, int | None]]:
        """The lanes that somebody may have, and whose each is: only the first one until all from before is applied."""
        self.undivided = Seq(next((seq for (seq,) in tables.rows("lanes.undivided")), 0))
        lanes = [(lane, seq, node) for lane, seq, node in tables.rows("lanes.lanes")]
        shut = any(lane == 0 and seq < self.undivided for lane, seq, _ in lanes)
        return [(lane, node) for lane, _, node in lanes if lane == 0 or not shut]

    def bury(self, tables: Tables) -> None:
        """Within a transaction: remove who is not there any more."""
        self._end_still(tables)
        tables.run("lanes.bury", (self._seconds,))
        tables.run("lanes.forget_lost")
        tables.run("lanes.orphan")

    def _end_still(self, tables: Tables) -> None:
        """Who was stopped while a statement was on its way to the server keeps what it locked until its connection is ended."""
        tables.rows("lanes.end_still", (self._seconds,))

    def working(self, tables: Tables, role: str) -> list[int]:
        """Nodes that have the role, and go by the settings in force."""
        in_force = next((settings for (settings,) in tables.rows("lanes.in_force")), "")
        return [node for node, roles, settings in tables.rows("lanes.nodes") if role in roles.split() and settings == in_force]

    def share(self, tables: Tables, role: str, count: int) -> int:
        """How many of ``count`` are this node's part, of those that have the role."""
        working = self.working(tables, role)
        if self.node not in working:
            return 0
        return count // len(working) + (working.index(self.node) < count % len(working))


NOTHING: Final = Seq(0)
"""Up to there nothing arrived."""
DESK: Final = -1
"""What is no batch, as a lane."""
WORKS: Final = "process"
"""The role of who has lanes."""


def _owned(tables: Tables, node: int | None) -> dict[int, Seq]:
    return {lane: Seq(seq) for lane, seq, owner in tables.rows("lanes.lanes") if owner == node}


def nodes_of(rows: Iterable[Row]) -> list[Node]:
    """Who is at work, and who is lost, of the rows that say so."""
    return [
        Node(
            name=name,
            roles=roles.split(),
            lanes=[lane for lane in lanes if lane != DESK],
            leads=DESK in lanes,
            silent=silent,
            report=report,
            alike=alike,
            lost=lost,
        )
        for name, roles, lanes, silent, report, alike, lost in rows
    ]


def divide(tables: Tables, lanes: int, *, leads: bool = True, head: Seq = NOTHING) -> None:
    """Within a transaction: let there be so many lanes; what there is up to ``head`` arrived when there was one, if there was.

    Raises ``CdmdError`` where that cannot be now, ``NotDurable`` where the node that leads has yet to do it.
    """
    there = tables.rows("lanes.lanes")
    if len(there) in {0, lanes}:
        return
    if not leads and len(there) == 1:
        raise NotDurable("the store is not divided into lanes yet: start the node that leads")
    if not leads:
        raise CdmdError(
            f"journal.partitions says {lanes}, and the store is divided into {len(there)} lanes: start the node that leads "
            f"first, or write {len(there)} here"
        )
    if len(there) == 1:  # one that is alone may still be at work: it is waited for, and writes nothing any more
        tables.rows("take", (LANE,))
        there = tables.rows("lanes.lanes")
        tables.run("lanes.divided", (str(head),))
    tables.run("lanes.bury", (SECONDS,))
    positions = {seq for _, seq, _ in there}
    had = f"the store is divided into {len(there)} lanes, and journal.partitions says {lanes}"
    if tables.rows("lanes.nodes"):
        raise CdmdError(f"{had}: stop all nodes before it is divided anew, or write {len(there)} here")
    if len(positions) > 1:
        raise CdmdError(
            f"{had}: it can be divided anew when all lanes have come equally far; start with {len(there)}, wait until the "
            "backlog is 0, and stop"
        )
    (position,) = positions
    tables.run("lanes.drop_lanes", (lanes,))
    for lane in range(len(there), lanes):
        tables.run("lanes.make_lane", (lane, position))
    tables.rows("lanes.begin_numbers")
