"""What every test has: one asyncio backend, no blocking call in a coroutine. In CI nothing may be skipped."""

import os
import signal
from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """A blocking call made by cdmd inside the event loop fails the test."""
    with blockbuster_ctx("cdmd") as bb:
        # Measuring coverage locks what it notes; a thread of ours that notes at the same moment is no fault of ours.
        bb.functions["threading.Lock.acquire"].can_block_in("coverage/collector.py", "lock_data")
        yield bb


def pytest_configure() -> None:
    """A runner in the background has SIGINT ignored, and what the tests start would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where CI is set every real part must be there: a skipped test is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if os.environ.get("CI") and skipped and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"CI is set and {len(skipped)} test(s) were skipped: a real part is missing", red=True)
