"""What ``test_children`` runs as a child: it does what its first argument says."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from cdmd.kit.children import parent

pair, (what, *rest) = parent()
match what:
    case "echoes":
        while said := pair.recv(65536):
            pair.sendall(said)
        sys.exit(7)
    case "tells":
        open_files = sorted(int(one.name) for one in Path("/proc/self/fd").iterdir())
        pair.sendall(repr((open_files, os.environ.get("TOKEN"), os.environ["PATH"], os.getsid(0) == os.getpid())).encode())
    case "dies":
        os.kill(os.getpid(), signal.SIGSEGV)
    case "leaves":
        helper = subprocess.Popen(["sleep", "60"])
        pair.sendall(str(helper.pid).encode())
        sys.exit(3)
    case "hangs":
        pair.sendall(b"x")
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            threading.Event().wait()
