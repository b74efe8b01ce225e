"""A plugin that makes the daemon's timers run often: syncing and pruning many times a second, as correctly as ever."""

from cdmd.daemon import upkeep

upkeep.SYNC_EVERY = 0.15  # type: ignore[misc]
upkeep.PRUNE_EVERY = 0.1  # type: ignore[misc]
upkeep.MARK_EVERY = 0.05  # type: ignore[misc]
