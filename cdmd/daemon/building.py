"""One connector, built from its configuration with all that it meets: its mapping, its sources, its client, its gate.

Not here: starting it, and how it goes on (``live``).
"""

from collections.abc import Callable

from cdmd.config.schema import ConnectorConfig
from cdmd.contracts import PullConnector, PushConnector
from cdmd.daemon.gate import HttpMaker, Live, PushGate
from cdmd.intake.mapping import Mapper
from cdmd.intake.shared import Intake
from cdmd.intake.source import IntakeSource
from cdmd.plugins import Plugins, saying
from cdmd.supervisor import Supervisor


class Builder:
    """Builds them all from the same parts."""

    def __init__(self, *, intake: Intake, supervisor: Supervisor, plugins: Plugins, http: HttpMaker) -> None:
        self._intake, self._supervisor, self._plugins, self._http = intake, supervisor, plugins, http

    def build(
        self,
        one: ConnectorConfig,
        *,
        raw: bool,
        alive: Callable[[Live], None],
        troubled: Callable[[Live, str | None], None],
    ) -> Live:
        """It says by ``alive`` that it works and by ``troubled`` why it cannot (None: it can again).

        Raises ``ConfigInvalid``.
        """
        name = one.name
        connector = self._plugins.connector(one.frame.type, name, one.settings)
        gate = PushGate(name, connector, self._supervisor) if isinstance(connector, PushConnector) else None
        mapper = Mapper(name, one.frame, raw=raw, streams=saying.streams(connector))
        http = self._http(one.settings)

        def source(*, push: bool) -> IntakeSource:
            return IntakeSource(
                name,
                intake=self._intake,
                mapper=mapper,
                http=http,
                push=push,
                alive=lambda: alive(live),
                troubled=lambda why: troubled(live, why),
                freshness=None if one.frame.freshness is None else one.frame.freshness.seconds,
            )

        puller = source(push=False) if isinstance(connector, PullConnector) and saying.fetches(connector) else None
        own = source(push=True) if gate is not None or puller is None else puller
        live = Live(config=one, connector=connector, mapper=mapper, source=own, http=http, gate=gate, puller=puller)
        return live
