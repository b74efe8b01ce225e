"""What plugin authors test with.

A source that records what a connector emits, the context of an extension, a clock that is moved by hand, a real daemon.
"""

from cdmd.testing.clock import ManualClock
from cdmd.testing.context import extension_context
from cdmd.testing.process import DaemonProcess
from cdmd.testing.source import RecordingSource

__all__ = ["DaemonProcess", "ManualClock", "RecordingSource", "extension_context"]
