"""What administrators may have done with people's data in the running daemon (``cdmd.control.needs.Governance``)."""

from collections.abc import AsyncGenerator
from typing import Any

from cdmd.daemon.parts import Parts
from cdmd.models import from_micros, show_time
from cdmd.privacy.screening import Pair


class Governing:
    """Over the parts that do it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def suppressed(self) -> int:
        """How many digests are on the suppression list."""
        return len(self._parts.privacy.listed)

    async def suppress(self, pair: Pair) -> bool:
        """Keep nothing any more of whoever has this identifier; False where it was so already. Raises ``NotDurable``."""
        return await self._parts.privacy.listed.add([pair], self._parts.kinds) > 0

    async def unsuppress(self, pair: Pair) -> bool:
        """Take it back; False where it was not on the list. Raises ``NotDurable``."""
        return await self._parts.privacy.listed.remove(pair, self._parts.kinds)

    async def suppression_rows(self) -> AsyncGenerator[dict[str, Any], None]:
        """The list as a file keeps it: a head, then a row for each digest."""
        listed = self._parts.privacy.listed
        yield {"type": "suppressions", "format": 1, "key": listed.key_check}
        async for digest, one in listed.rows():
            row = {"digest": digest.hex(), "since": show_time(from_micros(one.since)), "erased": one.erased}
            yield {"type": "suppression", **row}
