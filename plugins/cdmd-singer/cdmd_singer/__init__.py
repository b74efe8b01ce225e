"""Any Singer tap as a pull connector: ``type = "singer"``.

A tap is a program that writes SCHEMA, RECORD and STATE messages, one JSON document a line. Not here: taps themselves, each of
which lives in an environment of its own.
"""

import cdmd
from cdmd_singer.connector import Singer as Singer
from cdmd_singer.settings import SingerSettings as SingerSettings

__all__ = ["Singer", "SingerSettings", "cdmd_connectors"]

CDMD_HOOKS = (1, 0)


@cdmd.hookimpl
def cdmd_connectors() -> list[type[cdmd.Connector]]:
    """What this plugin brings."""
    return [Singer]
