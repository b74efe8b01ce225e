import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import cdmd

ROOT = Path(cdmd.__file__).parent.parent


@pytest.mark.parametrize("name", cdmd.__all__)
def test_every_public_name_resolves(name: str) -> None:
    if name == "extension" and importlib.util.find_spec("cdmd.extensions") is None:
        pytest.skip("cdmd.extensions is not part of this build")
    assert getattr(cdmd, name) is getattr(cdmd, name)
    assert name in dir(cdmd)


def test_the_contracts_names_are_public() -> None:
    contract = {
        "extension", "hookimpl", "Event", "Context", "Drop", "RetryLater", "Reject", "Record", "Source", "Accepted", "Filtered",
        "Rejected", "Request", "Answer", "Route", "Secret", "Extension", "__version__",
    }  # fmt: skip
    assert contract <= set(cdmd.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = cdmd.nonsense


def test_importing_cdmd_imports_nothing_heavy() -> None:
    code = "import sys, cdmd; print(sorted(m for m in sys.modules if m.split('.')[0] in sys.argv[1:]))"
    heavy = ["httpx", "cel", "uvicorn", "msgspec", "anyio", "asyncssh", "pluggy", "structlog", "asyncio"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_the_version_is_the_projects() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == cdmd.__version__
