"""``python -m tests.boot``: builds the package, boots a machine, installs it there, and says what holds."""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.boot.checks import CHECKS
from tests.boot.machine import Missing, base, machine
from tests.boot.service import Service

ROOT = Path(__file__).parents[2]
_CANNOT = "not tried: MemoryMax, OOMPolicy, TasksMax and IPAddressDeny need cgroup controllers that a container here lacks"


def main() -> int:
    """The exit status: 0 when everything holds."""
    parser = argparse.ArgumentParser(prog="python -m tests.boot", description=__doc__)
    parser.add_argument("--package", type=Path, help="a package built before; without it one is built")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/cdmd-boot", help="where the bare Debian is kept")
    parser.add_argument("--mirror", help="where it comes from the first time, if not from where debootstrap looks")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cdmd-boot-") as name:
        folder = Path(name)
        try:
            found = base(given.cache, given.mirror)
            package = given.package or _built(folder)
            return _tried(found, folder, package)
        except Missing as error:
            sys.stderr.write(f"tests.boot: {error}\n")
            return 2


def _built(folder: Path) -> Path:
    subprocess.run([str(ROOT / "systemd/debian/build"), str(folder)], check=True)
    return next(folder.glob("cdmd_*.deb"))


def _tried(found: Path, folder: Path, package: Path) -> int:
    """Each check builds on the ones before, so the first that fails ends it."""
    with machine(found, folder) as booted:
        service = Service(booted, package)
        for number, check in enumerate(CHECKS, 1):
            began = time.monotonic()
            try:
                check(service)
            except (AssertionError, OSError, ValueError, subprocess.SubprocessError) as error:
                sys.stdout.write(f"FAILED  {_sentence(check)}\n{type(error).__name__}: {error}\n")
                sys.stdout.write(f"\nthe log said last:\n{service.journal()}\n{number - 1} passed, 1 failed\n")
                return 1
            sys.stdout.write(f"{number:>2}/{len(CHECKS)}  {_sentence(check)} ({time.monotonic() - began:.1f} s)\n")
            sys.stdout.flush()
    sys.stdout.write(f"{_CANNOT}\n{len(CHECKS)} passed, 0 failed\n")
    return 0


def _sentence(check: object) -> str:
    return str(getattr(check, "__name__", check)).replace("_", " ")


if __name__ == "__main__":
    sys.exit(main())
