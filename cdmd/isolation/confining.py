"""What an extension's process may not do: exceed its memory, touch what is the daemon's own, be written to a core file.

Three bars: limits of the process; the interpreter's audit hook, which names who tried (``plugins.guarding``); and, where the
kernel has them, its own means (``kit.confinement``), which native code and other programs do not pass by either.
"""

import os
import resource
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cdmd.isolation.messages import Begin
from cdmd.kit.confinement import keep_from, refuse_local_sockets
from cdmd.plugins.guarding import Fence


def confine(begin: Begin, notice: Callable[[str], None]) -> bool:
    """Confine this process, before any code of the plugin and any thread is there; whether the kernel takes part."""
    os.umask(0o077)
    os.chdir("/")
    with suppress(OSError, ValueError):  # less is allowed already, or nothing may be set: the daemon looks at the memory, too
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if begin.max_memory is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (begin.max_memory, begin.max_memory))
    private = [Path(one) for one in begin.private]
    kernel = keep_from(private, writable=[Path(tempfile.gettempdir()), Path("/dev")])
    kernel = refuse_local_sockets() and kernel
    sys.addaudithook(Fence(private, package=begin.value.partition(":")[0], daemon=os.getppid(), notice=notice))
    return kernel
