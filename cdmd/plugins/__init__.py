"""Plugins: which there are and how each is (``registry``), and what their hooks give (``brought``)."""

from cdmd.plugins.registry import PluginRow, Plugins

__all__ = ["PluginRow", "Plugins"]
