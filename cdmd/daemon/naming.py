"""Renamed connectors: with ``was``, an event keeps the identity it had under the connector's earliest name."""

from collections.abc import Mapping

from cdmd.config.schema import ConnectorConfig
from cdmd.intake.source import Digesting
from cdmd.models import Digest, Event


class Names:
    """Digests by each connector's earliest name. ``configure`` exchanges the names while it runs."""

    def __init__(self, digests: Digesting, connectors: Mapping[str, ConnectorConfig]) -> None:
        self._digests = digests
        self._earliest: dict[str, str] = {}
        self.configure(connectors)

    def configure(self, connectors: Mapping[str, ConnectorConfig]) -> None:
        """Names of the connectors that are configured now."""
        self._earliest = {name: one.frame.was[0] for name, one in connectors.items() if one.frame.was}

    def occurrence(self, source: str, id: str) -> Digest:  # noqa: A002 - the field's own name
        """128 bits of (source, id), with the source as it was called first."""
        connector, dot, stream = source.partition(".")
        earliest = self._earliest.get(connector)
        return self._digests.occurrence(source if earliest is None else f"{earliest}{dot}{stream}", id)

    def content(self, event: Event) -> int:
        """64 bits of what the event says."""
        return self._digests.content(event)
