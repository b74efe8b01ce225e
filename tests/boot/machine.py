"""A Debian that boots in a container: its own systemd as PID 1, its own network, its own file system, thrown away."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Final

SUITE: Final = "bookworm"
PACKAGES: Final = "systemd,systemd-sysv,dbus,init-system-helpers,python3,procps,iproute2,curl"
_KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_POWER_OFF: Final = signal.SIGRTMIN + 4
_PATIENCE: Final = 300
"""Seconds for one command: on a machine that is busy with something else the package alone takes minutes to unpack."""

_CLEAN: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}


class Missing(Exception):
    """What this machine lacks for the boot."""


def base(cache: Path, mirror: str | None) -> Path:
    """A freshly installed Debian, made once and kept in ``cache``. Raises ``Missing`` and CalledProcessError."""
    lacking = [name for name in ("debootstrap", "systemd-nspawn", "nsenter") if shutil.which(name) is None]
    if lacking or os.geteuid():
        raise Missing(
            "needs root, debootstrap and systemd-container" + (f"; not found: {', '.join(lacking)}" if lacking else "")
        )
    root = cache / SUITE
    if not (root / "complete").exists():
        shutil.rmtree(root, ignore_errors=True)
        cache.mkdir(parents=True, exist_ok=True)
        keyring = [f"--keyring={_KEYRING}"] if _KEYRING.exists() else []
        command = [
            "debootstrap",
            "--variant=minbase",
            f"--include={PACKAGES}",
            *keyring,
            SUITE,
            str(root),
            *([mirror] if mirror else []),
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (root / "etc/machine-id").write_text("")  # empty, not missing: else the first-boot service fails
        (root / "complete").touch()
    return root


class Machine:
    """The booted machine; ``root`` is its file system as seen from here."""

    def __init__(self, root: Path, log: Path) -> None:
        self.root, self._log = root, log
        self._nspawn: subprocess.Popen[bytes] | None = None
        self.leader = 0

    def boot(self, *, seconds: float = 60) -> None:
        """Start it and wait until systemd says that it runs. Raises TimeoutError with the end of its console."""
        command = [
            "systemd-nspawn",
            "-q",
            "-D",
            str(self.root),
            "--boot",
            "--register=no",
            "--keep-unit",
            "--machine=cdmd-boot",
        ]
        with self._log.open("ab") as console:
            self._nspawn = subprocess.Popen(
                [*command, "--console=pipe", "--private-network"],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                start_new_session=True,
            )
        self.until(self._up, seconds=seconds, what="booting")

    def off(self) -> None:
        """Power off. nspawn itself is never killed: its PID 1 would stay behind and hold the file system."""
        if self._nspawn is None or self._nspawn.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.kill(self.leader or self._nspawn.pid, _POWER_OFF if self.leader else signal.SIGTERM)
        self._nspawn.wait(60)
        self._nspawn, self.leader = None, 0

    def run(self, *command: str, check: bool = True, text: str | None = None) -> "subprocess.CompletedProcess[str]":
        """Run a command in it as root. Raises AssertionError with what it said where it fails."""
        line = [*self._enter("-a"), *command]
        done = subprocess.run(line, input=text, capture_output=True, text=True, env=_CLEAN, timeout=_PATIENCE)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def says(self, *command: str) -> str:
        """What a command prints."""
        return self.run(*command).stdout.strip()

    def shows(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.says("systemctl", "show", "--value", f"--property={name}", unit)

    def has(self, path: str) -> bool:
        """Whether something is there."""
        return self.run("test", "-e", path, check=False).returncode == 0

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """A file in it; an old one keeps its owner."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def beside(self, *command: str) -> "subprocess.Popen[str]":
        """A process of this machine's programs that sees the other's network."""
        line = [*self._enter("-n"), *command]
        return subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    @contextmanager
    def within(self, seconds: float, what: str) -> Iterator[None]:
        """What is inside takes at most that long."""
        began = time.monotonic()
        yield
        took = time.monotonic() - began
        assert took < seconds, f"{what} took {took:.1f} s of at most {seconds:g} s"

    def until(self, look: Callable[[], bool], *, seconds: float = 20, what: str) -> None:
        """Wait until ``look`` is true. Raises TimeoutError."""
        end, pause = time.monotonic() + seconds, Event()
        while not look():
            if time.monotonic() > end:
                console = self._log.read_text(errors="replace")[-1500:]
                raise TimeoutError(f"{what} did not come about within {seconds:g} s; the console said last:\n{console}")
            pause.wait(0.05)

    def _up(self) -> bool:
        if self._nspawn is None or self._nspawn.poll() is not None:
            raise Missing(f"systemd-nspawn cannot boot here: {self._log.read_text(errors='replace')[-1500:]}")
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        self.leader = int(children[0]) if children else 0
        if not self.leader:
            return False
        done = self.run("systemctl", "is-system-running", check=False)
        return done.stdout.strip() in {"running", "degraded"}

    def _enter(self, *spaces: str) -> list[str]:
        return ["nsenter", "-t", str(self.leader), *spaces]


@contextmanager
def machine(found: Path, folder: Path) -> Iterator[Machine]:
    """A copy of ``found``, booted; powered off and removed at the end. Its console goes to ``folder/console.log``."""
    root = folder / "root"
    subprocess.run(["cp", "-a", "--reflink=auto", str(found), str(root)], check=True)
    booted = Machine(root, folder / "console.log")
    try:
        booted.boot()
        yield booted
    finally:
        booted.off()
