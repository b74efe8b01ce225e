"""A daemon that loads this as a plugin has short leases: a test of one that is lost waits no longer than it has to."""

from typing import Final

from cdmd.cluster import holding
from cdmd.daemon import laning
from cdmd.store.postgres.duties import NodeDuties
from cdmd.store.postgres.nodes import Nodes

SECONDS: Final = 4.0

holding.SECONDS = laning._CUT_OFF = SECONDS  # type: ignore[misc]
for _init in (Nodes.__init__, NodeDuties.__init__):
    _init.__kwdefaults__["seconds"] = SECONDS  # type: ignore[attr-defined]
