"""The parts that keep and forget people's data, each made from the databases and from what is configured."""

from collections.abc import Callable

from cdmd.contracts import Clock
from cdmd.daemon.suppressing import OWNER, PURPOSE, SuppressionList
from cdmd.identity.identifiers import Kinds
from cdmd.privacy.suppressions import Suppressions
from cdmd.store.opening import Opened


class Privacy:
    """``suppressions`` is asked by whoever takes events, ``listed`` is where the list is kept."""

    def __init__(self, opened: Opened, *, kinds: Callable[[], Kinds], clock: Clock) -> None:
        self.suppressions = Suppressions(key=opened.digester.secret(OWNER, PURPOSE), naming=kinds)
        self.listed = SuppressionList(opened.journal, self.suppressions, clock=clock)
