"""Senders' own packages for Node.js, fetched once and kept where pytest keeps its cache. Without npm a test says so."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PACKAGES = ("@octokit/webhooks-methods@6.0.0", "@shopify/shopify-api@13.1.0", "@sendgrid/eventwebhook@8.0.0")


def installed(config: pytest.Config, tmp: Path) -> Path:
    """A folder with the packages. Skips where there is no npm, or it cannot fetch them."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip(f"npm is not installed, so {', '.join(PACKAGES)} cannot be fetched")
    cache = getattr(config, "cache", None)  # gone where pytest runs without its cache
    folder = tmp if cache is None else cache.mkdir("senders")
    if not all((folder / "node_modules" / package.rpartition("@")[0]).exists() for package in PACKAGES):
        command = ["npm", "install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)]
        done = subprocess.run([*command, *PACKAGES], capture_output=True, text=True, timeout=120)
        if done.returncode:
            pytest.skip(f"npm cannot fetch {', '.join(PACKAGES)}: {done.stderr.strip().splitlines()[-1:]}")
    return folder


def node(folder: Path, script: str, given: Any) -> Any:
    """What a module (``script``; ``given`` is a constant in it) prints as JSON."""
    file = folder / "script.mjs"
    file.write_text(f"const given = {json.dumps(given)};\n{script}", "utf-8")
    done = subprocess.run(["node", str(file)], capture_output=True, text=True, timeout=60, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
