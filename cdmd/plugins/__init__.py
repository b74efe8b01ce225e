"""Plugins: which there are and how each is (``registry``), what they bring (``brought``), what none may do (``guarding``)."""

from cdmd.plugins.guarding import Guard
from cdmd.plugins.registry import PluginRow, Plugins

__all__ = ["Guard", "PluginRow", "Plugins"]
