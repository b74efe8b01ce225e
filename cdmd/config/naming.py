"""Renamed connectors: with ``was``, an event keeps the identity it had under the connector's first name.

And two that bring the same events: what a stream finds is known as what the connector would have been told that it reconciles.

Not here: the connector's state, which moves to the new name when it starts (``live``).
"""

from collections.abc import Mapping

from cdmd.config.schema import Config, ConnectorConfig


class Names:
    """Every name a connector has or had, and its first one. ``configure`` exchanges them while it runs."""

    def __init__(self, connectors: Mapping[str, ConnectorConfig]) -> None:
        self._earliest: dict[str, str] = {}
        self._today: dict[str, str] = {}
        self._reconciled: dict[str, str] = {}
        self.configure(connectors)

    def configure(self, connectors: Mapping[str, ConnectorConfig]) -> None:
        """Take the names of the connectors that are configured now. In ``was`` the first name stands first."""
        renamed = {name: one.frame.was for name, one in connectors.items() if one.frame.was}
        self._earliest = {one: was[0] for name, was in renamed.items() for one in (name, *was)}
        self._today = {one: name for name, was in renamed.items() for one in was}
        self._reconciled = {}
        for source, told in reconciled(connectors).items():
            found, _, stream = source.partition(".")
            self._reconciled |= {f"{once}.{stream}": told for once in (found, *renamed.get(found, ()))}

    def earliest(self, source: str) -> str:
        """The source (``connector`` or ``connector.stream``) as it was called first: what its events are known by."""
        return _renamed(self._reconciled.get(source, source), self._earliest)

    def today(self, connector: str) -> str:
        """What the connector that once had this name is called now."""
        return self._today.get(connector, connector)


def reconciled(connectors: Mapping[str, ConnectorConfig]) -> dict[str, str]:
    """The connectors that are told of what a stream finds, by the stream's source."""
    return {one.frame.reconcile: name for name, one in connectors.items() if one.frame.reconcile is not None}


def _renamed(source: str, names: Mapping[str, str]) -> str:
    if not names:
        return source
    connector, dot, stream = source.partition(".")
    return f"{names.get(connector, connector)}{dot}{stream}"


def guarded(config: Config) -> frozenset[str]:
    """The connectors that keep only events about known customers."""
    return frozenset(name for name, one in config.connectors.items() if one.frame.known_only)
