"""The built-in connectors, registered through the same hook as a plugin's."""

from collections.abc import Sequence

from cdmd.connectors.webhooks import Webhook
from cdmd.contracts import Connector
from cdmd.hookspecs import hookimpl


@hookimpl
def cdmd_connectors() -> Sequence[type[Connector]]:
    """The connector types that cdmd brings itself."""
    return [Webhook]
