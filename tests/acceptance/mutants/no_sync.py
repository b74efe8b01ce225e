"""An fsync that does nothing, everywhere."""

import msgspec

from cdmd.store import appending, applying, mark

appending._PLAN = msgspec.structs.replace(appending._PLAN, synchronous="OFF")  # type: ignore[misc]
applying.PLAN = msgspec.structs.replace(applying.PLAN, synchronous="OFF")  # type: ignore[misc]
mark.os.fsync = lambda handle: None
