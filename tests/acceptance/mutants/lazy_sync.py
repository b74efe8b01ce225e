"""The journal as most would set it up: ``synchronous=NORMAL``, which in WAL mode does not sync a commit."""

import msgspec

from cdmd.store import appending

appending._PLAN = msgspec.structs.replace(appending._PLAN, synchronous="NORMAL")  # type: ignore[misc]
