from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.control.doubles import Daemon, MemoryRuntime, serving


@pytest.fixture
def runtime(tmp_path: Path) -> MemoryRuntime:
    return MemoryRuntime(tmp_path)


@pytest.fixture
def daemon(runtime: MemoryRuntime, tmp_path: Path) -> Iterator[Daemon]:
    with serving(Daemon(runtime, tmp_path / "control.sock")) as answering:
        yield answering
