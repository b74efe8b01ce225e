"""What plugin authors test with; the names resolve on first use.

A source that records what a connector emits, an outlet that records what a target says, the context of an extension, a clock
that is moved by hand, a real daemon.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cdmd.testing.clock import ManualClock as ManualClock
    from cdmd.testing.context import extension_context as extension_context
    from cdmd.testing.outlet import RecordingOutlet as RecordingOutlet
    from cdmd.testing.process import DaemonProcess as DaemonProcess
    from cdmd.testing.source import RecordingSource as RecordingSource

__all__ = ["DaemonProcess", "ManualClock", "RecordingOutlet", "RecordingSource", "extension_context"]

_HOME_OF: Final = {
    "DaemonProcess": "cdmd.testing.process",
    "ManualClock": "cdmd.testing.clock",
    "RecordingOutlet": "cdmd.testing.outlet",
    "RecordingSource": "cdmd.testing.source",
    "extension_context": "cdmd.testing.context",
}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'cdmd.testing' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value  # the next use finds it without coming here
    return value
