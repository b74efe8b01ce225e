"""What plugin authors test with: a source that records what a connector emits, a clock that is moved by hand, a real daemon."""

from cdmd.testing.clock import ManualClock
from cdmd.testing.process import DaemonProcess
from cdmd.testing.source import RecordingSource

__all__ = ["DaemonProcess", "ManualClock", "RecordingSource"]
