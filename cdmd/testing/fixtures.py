"""The parts of ``cdmd.testing`` as fixtures of pytest. In a ``conftest.py``: ``pytest_plugins = ["cdmd.testing.fixtures"]``.

No entry point announces them: whoever has cdmd installed and tests something else is not to have them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from cdmd.testing.area import SftpArea, sftp_area
from cdmd.testing.clock import ManualClock
from cdmd.testing.process import DaemonProcess
from cdmd.testing.serving import FakeApi, FakeEndpoint
from cdmd.testing.source import RecordingSource

StartDaemon = Callable[..., DaemonProcess]


@pytest.fixture
def cdmd_daemon(tmp_path: Path) -> Iterator[StartDaemon]:
    """Starts a real daemon: ``cdmd_daemon(config, plugins={"NAME": "MODULE"}, paths=[...])``. It ends with the test."""
    with ExitStack() as stack:
        count = 0

        def start(
            config: str = "",
            *,
            plugins: Mapping[str, str] | None = None,
            paths: Sequence[Path] = (),
            environment: Mapping[str, str] | None = None,
        ) -> DaemonProcess:
            nonlocal count
            count += 1
            folder = tmp_path / f"cdmd-{count}"
            folder.mkdir()
            return stack.enter_context(DaemonProcess(folder, config, plugins=plugins, paths=paths, environment=environment))

        yield start


@pytest.fixture
def cdmd_clock() -> ManualClock:
    """A clock that stands still until it is moved."""
    return ManualClock()


@pytest.fixture
def cdmd_source(cdmd_clock: ManualClock, tmp_path: Path) -> RecordingSource:
    """A source without a mapping and without a client, by ``cdmd_clock``."""
    return RecordingSource(clock=cdmd_clock, scratch=tmp_path)


@pytest.fixture
def fake_api() -> Iterator[FakeApi]:
    """Another system's API on loopback."""
    with FakeApi() as api:
        yield api


@pytest.fixture
def fake_endpoint() -> Iterator[FakeEndpoint]:
    """A receiver of webhooks on loopback, which verifies them."""
    with FakeEndpoint() as endpoint:
        yield endpoint


@pytest.fixture
def fake_area(tmp_path: Path) -> Iterator[SftpArea]:
    """An SFTP area on loopback: a real server over a folder."""
    folder = tmp_path / "area"
    folder.mkdir()
    with sftp_area(folder) as area:
        yield area
