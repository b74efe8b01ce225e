"""What the machine around the daemon tells a doctor: its clock, its service manager, who may read what, the configuration."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from cdmd.cli.examining import Finding
from cdmd.config.places import config_file
from cdmd.errors import CdmdError, NotPermitted

_UNIT: Final = "cdmd.service"
_SECONDS: Final = 20
_OTHERS: Final = stat.S_IRWXO | stat.S_IRWXG


def around(state_dir: Path) -> Iterator[Finding]:
    """What is wrong beside a daemon that answers. It blocks."""
    yield from _clock()
    yield from _rights(state_dir)


def unreached(error: CdmdError, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Why there may be no answer. It blocks."""
    if isinstance(error, NotPermitted):
        yield Finding("problem", "you", str(error), "sudo, or `usermod -aG cdmadm YOU` and a new log-in")
        return
    yield Finding("problem", "daemon", str(error), f"start it: systemctl start {_UNIT}, or cdmd run")
    if state := _asked("systemctl", "show", "--value", "--property=ActiveState,Result", _UNIT):
        active, _, result = state.partition("\n")
        if active == "failed":
            said = f"systemd gave it up ({result.strip()})"
            yield Finding("problem", "service", said, f"journalctl -u {_UNIT} -n 50; then systemctl reset-failed and start it")
    yield from _configuration(environment)


def service_log() -> str:
    """The last lines that the service logged; nothing where no service manager keeps them. It blocks."""
    return _asked("journalctl", f"--unit={_UNIT}", "--lines=2000", "--no-pager", "--output=short-iso")


def _configuration(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Every mistake, as ``cdmd check`` reports it: a process of its own, because it imports what cdmctl does without."""
    file, _ = config_file(None, environment)
    command = [sys.executable, "-m", "cdmd.cli.daemon_commands", "check", "--config", str(file)]
    if not file.exists():
        return
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603 - our own
    except subprocess.TimeoutExpired:
        said = f"it could not be checked within {_SECONDS} seconds"
        yield Finding("warning", str(file), said, f"see what it waits for: cdmd check --config {file}")
        return
    if done.returncode:
        for line in (done.stderr or done.stdout).splitlines():
            place, _, what = line.partition(": ")
            yield Finding("problem", place, what, "mend it; `cdmd check` says when it is right")


def _clock() -> Iterator[Finding]:
    if _asked("timedatectl", "show", "--value", "--property=NTPSynchronized") == "no":
        said = "this machine's clock is not kept right by anybody"
        yield Finding("warning", "clock", said, "timedatectl set-ntp true: signatures, windows and retention go by it")


def _rights(state_dir: Path) -> Iterator[Finding]:
    """Whether somebody else may read what is kept; silent where we may not even look."""
    try:
        seen = [state_dir, *state_dir.iterdir()]
        # A socket is there to be connected to: who may is decided by who asks.
        modes = [(path, path.lstat().st_mode) for path in seen]
        open_to_others = [path for path, mode in modes if mode & _OTHERS and not stat.S_ISSOCK(mode)]
    except OSError:
        return
    if open_to_others:
        said = f"others than the daemon may read {open_to_others[0]}" + (" and more" if len(open_to_others) > 1 else "")
        yield Finding("problem", "state directory", said, f"chmod -R go= {state_dir}")


def _asked(*command: str) -> str:
    """What a program says; nothing where it is not there or fails."""
    found = shutil.which(command[0])
    if found is None:
        return ""
    try:
        line = [found, *command[1:]]
        done = subprocess.run(line, capture_output=True, text=True, timeout=_SECONDS, check=False, env=_plain())  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _plain() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}
