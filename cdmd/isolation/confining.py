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
from cdmd.kit.confinement import Kept, keep_from, refuse_calls
from cdmd.plugins.guarding import Fence


def confine(begin: Begin, notice: Callable[[str], None]) -> Kept:
    """Confine this process, before any code of the plugin and any thread is there; what the kernel itself holds of it."""
    os.umask(0o077)
    os.chdir("/")
    with suppress(OSError, ValueError):  # less is allowed already, or nothing may be set: the daemon looks at the memory, too
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if begin.max_memory is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (begin.max_memory, begin.max_memory))
    private = [Path(one) for one in begin.private]
    kept = keep_from(private, writable=[Path(tempfile.gettempdir()), Path("/dev")])
    kept = kept._replace(files=refuse_calls() and kept.files)
    sys.addaudithook(Fence(private, package=begin.value.partition(":")[0], daemon=os.getppid(), notice=notice))
    return kept
