"""Looks at some of the records that arrive: which of their fields the configuration does not keep (``cdmd.privacy``)."""

from collections.abc import Callable, Mapping

from cdmd.config.schema import Config, ConnectorConfig
from cdmd.models import Record
from cdmd.privacy.minimising import Minimised, Reads, dropped, reads


class Minimising:
    """``observe`` is handed a record now and then; ``found`` is what was counted since the start, by connector."""

    def __init__(self, config: Callable[[], Config]) -> None:
        self._config = config
        self._reads: dict[str, tuple[ConnectorConfig, Reads | None]] = {}
        self.found: dict[str, Minimised] = {}

    def observe(self, connector: str, record: Record) -> None:
        """Count what is not kept of it. Of a connector that maps its records itself nothing is known."""
        one = self._config().connectors.get(connector)
        if one is None or one.frame.event is None or record.final or record.stream is not None:
            return
        known = self._reads.get(connector)
        if known is None or known[0] is not one:
            known = self._reads[connector] = one, reads(one.frame.event)
        self.found.setdefault(connector, Minimised()).add([] if known[1] is None else dropped(record.value, known[1]))

    def counted(self) -> Mapping[str, Minimised]:
        """Those that are configured."""
        return {name: one for name, one in self.found.items() if name in self._config().connectors}
