"""NATS in both directions: ``type = "nats"`` as a connector subscribes, as a target publishes.

With JetStream nothing is lost on the way: a message is acknowledged once it is on the disk, and a delivery once the stream has
it. Not here: the server, which is yours.
"""

import cdmd
from cdmd_nats.connector import NatsConnector as NatsConnector
from cdmd_nats.target import NatsTarget as NatsTarget

__all__ = ["NatsConnector", "NatsTarget", "cdmd_connectors", "cdmd_targets"]

CDMD_HOOKS = (1, 0)


@cdmd.hookimpl
def cdmd_connectors() -> list[type[cdmd.Connector]]:
    """What this plugin brings in with."""
    return [NatsConnector]


@cdmd.hookimpl
def cdmd_targets() -> list[type[cdmd.Target]]:
    """What this plugin sends with."""
    return [NatsTarget]
