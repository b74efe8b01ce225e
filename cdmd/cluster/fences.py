"""Who fetches for a connector now, as whoever writes the journal knows it: by the greatest token that came with an append.

It is kept with the connectors' state, so that who writes the journal next knows it, too. Not here: who should (``Duties``).
"""

from collections.abc import Mapping, Sequence
from typing import Final

from cdmd.contracts import Append
from cdmd.errors import Followed

OWNER: Final = "daemon:fences"
"""Whose state the tokens are; no connector can have this name."""


class Fences:
    """``load`` what is kept before the first append."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def load(self, kept: Mapping[bytes, bytes]) -> None:
        """Tokens by connector."""
        self._known = {name.decode(): int(token) for name, token in kept.items()}

    def guarded(self, appends: Sequence[Append]) -> Sequence[Append]:
        """The same with what has to be kept of their tokens. Raises ``Followed`` with all that are too small."""
        fresh: dict[bytes, bytes | None] = {}
        followed: dict[str, int] = {}
        for one in appends:
            known = self._known.get(one.connector, 0)
            if one.fence and one.fence < known:
                followed[one.connector] = known
            if one.fence > known:
                fresh[one.connector.encode()] = str(one.fence).encode()
        if followed:
            raise Followed(followed)
        return [*appends, Append(connector=OWNER, state=fresh)] if fresh else appends

    def passed(self, appends: Sequence[Append]) -> None:
        """These are durable."""
        for one in appends:
            if one.fence:
                self._known[one.connector] = max(self._known.get(one.connector, 0), one.fence)
