"""What stands in for a connector whose plugin is missing, so that nothing is lost meanwhile. Not here: which are missing."""

from typing import ClassVar

import msgspec

from cdmd.config.schema import Absent
from cdmd.contracts import Source
from cdmd.errors import Overloaded
from cdmd.models import Answer, Request, Route


class AbsentConnector:
    """What stands in for a connector whose plugin is missing: the path that its senders are kept waiting at.

    It is never asked: the daemon answers 503 there, so that nothing is lost.
    """

    Settings: ClassVar[type[msgspec.Struct]] = Absent
    type: ClassVar[str] = "absent"

    def __init__(self, name: str, settings: Absent) -> None:
        self._why = settings.unavailable
        path = settings.path or ""
        self.routes = (Route(path=path if path.startswith("/") else f"/hooks/{name}"),)

    async def answer(self, request: Request, source: Source) -> Answer:
        """Never takes anything. Raises ``Overloaded``."""
        raise Overloaded(self._why, retry_after=60)
