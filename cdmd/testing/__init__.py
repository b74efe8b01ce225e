"""What plugin authors test with; the names resolve on first use.

A real daemon; another system's API, an endpoint and an SFTP area on loopback; a source that records what a connector emits, an
outlet that records what a target says, an extension called as the daemon would, a clock that is moved by hand. ``fixtures`` has
them for pytest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cdmd.testing.area import SftpArea as SftpArea
    from cdmd.testing.area import sftp_area as sftp_area
    from cdmd.testing.calling import Called as Called
    from cdmd.testing.calling import call_extension as call_extension
    from cdmd.testing.calling import make_event as make_event
    from cdmd.testing.clock import ManualClock as ManualClock
    from cdmd.testing.context import extension_context as extension_context
    from cdmd.testing.outlet import RecordingOutlet as RecordingOutlet
    from cdmd.testing.process import DaemonProcess as DaemonProcess
    from cdmd.testing.serving import Asked as Asked
    from cdmd.testing.serving import FakeApi as FakeApi
    from cdmd.testing.serving import FakeEndpoint as FakeEndpoint
    from cdmd.testing.source import RecordingSource as RecordingSource

__all__ = [
    "Asked",
    "Called",
    "DaemonProcess",
    "FakeApi",
    "FakeEndpoint",
    "ManualClock",
    "RecordingOutlet",
    "RecordingSource",
    "SftpArea",
    "call_extension",
    "extension_context",
    "make_event",
    "sftp_area",
]

_HOME_OF: Final = {
    "Asked": "cdmd.testing.serving",
    "Called": "cdmd.testing.calling",
    "DaemonProcess": "cdmd.testing.process",
    "FakeApi": "cdmd.testing.serving",
    "FakeEndpoint": "cdmd.testing.serving",
    "ManualClock": "cdmd.testing.clock",
    "RecordingOutlet": "cdmd.testing.outlet",
    "RecordingSource": "cdmd.testing.source",
    "SftpArea": "cdmd.testing.area",
    "call_extension": "cdmd.testing.calling",
    "extension_context": "cdmd.testing.context",
    "make_event": "cdmd.testing.calling",
    "sftp_area": "cdmd.testing.area",
}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'cdmd.testing' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value  # the next use finds it without coming here
    return value
