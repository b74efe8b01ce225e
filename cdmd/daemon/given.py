"""What the process brings to the daemon."""

import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import anyio
import msgspec

from cdmd.config.roles import INGEST, PULL, ROLES
from cdmd.config.schema import Config
from cdmd.contracts import Clock
from cdmd.kit.clock import SystemClock
from cdmd.kit.logs import Logs
from cdmd.kit.systemd import Systemd
from cdmd.plugins import Plugins

Signals = Callable[[], AbstractContextManager[AsyncIterator[signal.Signals]]]


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What the process brings: its plugins, its logs, systemd's hands, and how the configuration is read again.

    ``ready`` is told, in a thread, the configuration and the public addresses once all of them accept; ``left`` at the very
    end, when all is closed, which connectors did not stop when told: whoever runs the loop cannot wait for them. ``lengthen``
    is told whether threads may keep the interpreter for long now. ``private`` are places that no isolated plugin may reach.
    ``roles``: what of the daemon's work this one does.
    """

    config: Config
    plugins: Plugins
    logs: Logs
    systemd: Systemd
    read_config: Callable[[], Config]
    ready: Callable[[Config, Sequence[str]], None]
    left: Callable[[Sequence[str]], None] = lambda abandoned: None
    lengthen: Callable[[bool], None] = lambda long: None
    private: Sequence[Path] = ()
    signals: Signals = partial(anyio.open_signal_receiver, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    clock: Clock = SystemClock()
    roles: Sequence[str] = ROLES

    @property
    def leads(self) -> bool:
        """Whether it takes what is sent, and writes the journal: it does all that is one node's alone."""
        return INGEST in self.roles

    @property
    def pulls(self) -> bool:
        """Whether it fetches."""
        return PULL in self.roles
