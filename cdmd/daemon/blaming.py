"""Says which plugin does what it should not, in the log and in its row of ``cdmctl plugins``. Not here: finding out which."""

from typing import Any

import structlog

from cdmd.daemon.isolating import Isolating
from cdmd.extensions import Extensions, Leak, Stall, key_of
from cdmd.plugins import Plugins


class Blaming:
    """What a ``LoopWatch`` tells of stalls, and what is seen of plugins that are isolated."""

    def __init__(self, plugins: Plugins, extensions: Extensions, isolating: Isolating) -> None:
        self._plugins, self._extensions = plugins, extensions
        self._log: Any = structlog.get_logger()
        isolating.noticed = self.noticed

    def stalled(self, stall: Stall) -> None:
        """At once, in the watching thread: the loop may never come back to say so itself."""
        where, lasted = f"{stall.file}:{stall.line}", round(stall.seconds, 3)
        self._log.error("loop_blocked", plugin=stall.plugin, extension=stall.extension, file=where, seconds=lasted)

    def free_again(self, stall: Stall) -> None:
        """On the loop, once it lives again."""
        lasted = round(stall.seconds, 3)
        self._log.warning("loop_free_again", plugin=stall.plugin, extension=stall.extension, seconds=lasted)
        if stall.extension is not None:
            self._extensions.blame(stall.extension, stall.describe())
        elif stall.plugin is not None:
            self._plugins.blame(stall.plugin, stall.describe())

    def leaks(self, leak: Leak | None, grown: int) -> None:
        """The process grows; None where by nothing that a plugin's line made."""
        if leak is None:
            self._log.info("memory_grows", bytes=grown)
            return
        where = f"{leak.file}:{leak.line}"
        self._log.error("plugin_leaks_memory", plugin=leak.plugin, file=where, bytes=leak.kept, seconds=round(leak.seconds, 1))
        self._plugins.blame(leak.plugin, leak.describe())

    def noticed(self, plugin: str, extension: str | None, text: str) -> None:
        """An isolated plugin, or one of its extensions, was seen doing what it should not."""
        if extension is None:
            self._plugins.blame(plugin, text)
        else:
            self._extensions.blame(key_of(plugin, extension), text)
