"""What the C library is told about memory, each in a process of its own."""

import ctypes
import subprocess
import sys
from ctypes.util import find_library

import pytest

from cdmd.kit.memory import give_back, share_arenas

glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(find_library("c")), "malloc_trim"), reason="the C library is not glibc")
FIGURE = """
def figure(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) // 1024
"""


def mebibytes(code: str) -> list[int]:
    done = subprocess.run([sys.executable, "-c", FIGURE + code], check=True, capture_output=True, text=True, timeout=60)
    return [int(word) for word in done.stdout.split()]


THREADS = """
import threading
from cdmd.kit.memory import share_arenas
if SHARED:
    share_arenas()
together = threading.Barrier(9)
def hold():
    kept = bytearray(100_000)
    together.wait()
    together.wait()
for _ in range(8):
    threading.Thread(target=hold).start()
together.wait()
print(figure("VmSize"))
together.wait()
"""


@glibc
def test_threads_take_memory_from_the_same_places() -> None:
    (apart,), (shared,) = (mebibytes(THREADS.replace("SHARED", given)) for given in ("False", "True"))
    assert apart - shared > 4 * 64, "each arena takes 64 MiB of addresses"


FREED = """
from cdmd.kit.memory import give_back
held = [bytearray(50_000) for _ in range(1_000)]
last = bytearray(50_000)  # what lies behind keeps the others from going by themselves
del held
before = figure("VmRSS")
give_back()
print(before - figure("VmRSS"))
"""


@glibc
def test_what_is_free_is_given_back() -> None:
    (given,) = mebibytes(FREED)
    assert given > 30


def test_a_library_without_these_knobs_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    share_arenas()
    give_back()
