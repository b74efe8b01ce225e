"""Packages for Node.js, fetched once and kept where pytest keeps its cache. Without npm a test says so and is skipped."""

import fcntl
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest


def installed(config: pytest.Config, tmp: Path, name: str, packages: Sequence[str]) -> Path:
    """The folder ``name`` with the ``packages`` (``NAME@VERSION``) in its ``node_modules``; processes wait for each other."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip(f"npm is not installed, so {', '.join(packages)} cannot be fetched")
    cache = getattr(config, "cache", None)  # gone where pytest runs without its cache
    folder: Path = tmp if cache is None else cache.mkdir(name)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not all((folder / "node_modules" / package.rpartition("@")[0]).exists() for package in packages):
            _fetch(folder, packages)
    return folder


def _fetch(folder: Path, packages: Sequence[str]) -> None:
    command = ["npm", "install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)]
    done = subprocess.run([*command, *packages], capture_output=True, text=True, timeout=120)
    if done.returncode:
        pytest.skip(f"npm cannot fetch {', '.join(packages)}: {done.stderr.strip().splitlines()[-1:]}")


def node(folder: Path, script: str, given: Any) -> Any:
    """What a module (``script``; ``given`` is a constant in it) prints as JSON."""
    text = f"const given = {json.dumps(given)};\n{script}"
    command = ["node", "--input-type=module"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
