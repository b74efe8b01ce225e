"""Becomes the tap: ``python -I launch.py BYTES PROGRAM ARGUMENT...``, run as a process of its own.

The limit of memory holds from before the tap's first instruction, and the tap does not outlive the daemon, however that ends.
"""

import ctypes
import os
import resource
import signal
import sys
from typing import Final

NOT_FOUND: Final = 127
_PR_SET_PDEATHSIG: Final = 1


def main(arguments: list[str]) -> None:
    """Does not return; ends with ``NOT_FOUND`` where the program cannot be run."""
    limit, *command = arguments
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(NOT_FOUND)
    resource.setrlimit(resource.RLIMIT_AS, (int(limit), int(limit)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        os.execv(command[0], command)  # noqa: S606 - the configuration's program, and no shell
    except OSError:
        os._exit(NOT_FOUND)


if __name__ == "__main__":
    main(sys.argv[1:])
