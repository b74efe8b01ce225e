"""Processes that write until they are killed: what they said until then was acknowledged."""

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import anyio.to_thread

_ROOT = Path(__file__).parents[2]


async def run_and_kill(script: str, *arguments: object, lines: int) -> int:
    """Kill it after it wrote so many ``lines`` of a number each; the last number that it wrote."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return await anyio.to_thread.run_sync(partial(_run, command, lines))


def _run(command: list[str], lines: int) -> int:
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=_ROOT) as child:
        assert child.stdout is not None
        said = [int(child.stdout.readline()) for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        said += [int(line) for line in child.stdout.read().splitlines() if line]
    return said[-1]
