"""A file that is the whole register: compared with the last one that was applied, only what changed becomes events.

``running`` is the register of a connector and its commands, ``applying`` the way of a new one, ``comparing`` reads that against
the last, ``items`` from its file, ``deciding`` says what may be removed (pure), ``index`` is the last one in memory, ``table``
and ``rows`` what is kept of it. Not here: where files come from.
"""

from cdmd.connectors.registers.deciding import Removals
from cdmd.connectors.registers.running import Register
from cdmd.connectors.registers.shapes import File, Outcome, RegisterSettings

__all__ = ["File", "Outcome", "Register", "RegisterSettings", "Removals"]
