"""Runs a plugin's extensions in a process of their own: what they do to it, they do to nobody else.

``keeping`` is the daemon's side, ``child`` the program on the other, ``messages`` what they say to each other, ``confining``
what that process may not do. Not here: what becomes of an event (``cdmd.extensions``), and connectors, which are not isolated.
"""

from cdmd.isolation.describing import describe
from cdmd.isolation.keeping import Isolated, ProcessState

__all__ = ["Isolated", "ProcessState", "describe"]
