"""Calls each extension under its own deadline and breaker; a failure is a verdict about one event, never a crash.

Not here: finding plugins (``cdmd.plugins``) and what becomes of the verdicts (``cdmd.pipeline``).
"""

from cdmd.extensions.calling import ExtensionState, Registered, key_of
from cdmd.extensions.context import PluginContext
from cdmd.extensions.declaring import extension
from cdmd.extensions.dispatch import Extensions, Visit
from cdmd.extensions.leakwatch import Leak, LeakWatch
from cdmd.extensions.loopwatch import LoopWatch, Stall
from cdmd.extensions.performing import Limits

__all__ = [
    "ExtensionState",
    "Extensions",
    "Leak",
    "LeakWatch",
    "Limits",
    "LoopWatch",
    "PluginContext",
    "Registered",
    "Stall",
    "Visit",
    "extension",
    "key_of",
]
