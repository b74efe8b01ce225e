"""What every test has: one asyncio backend, no blocking call in a coroutine. In CI nothing may be skipped.

Whole folders are tried in several processes at once (pytest-xdist): a test owns what it makes, and takes free ports. What
fails there is looked at twice (tests/looks.py); where only files are named, a failure is a failure at once.

To note which lines a test goes through takes longer than the test: who goes through the same ones a million times is not
watched (``no_cover``), or only at the beginning. Where every line must be gone through (``_WATCHED``) all of a test is.
"""

import os
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from blockbuster import BlockBuster
from hypothesis import HealthCheck, settings

from tests.house.promises import promises
from tests.looks import Looks, is_second
from tests.rewriting import rewrite_share
from tests.sizes import size
from tests.turns import Turns

# Bytecode is kept, whatever the environment says: a daemon starts a thousand times, and to compile it takes as long as that.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Every run draws other examples, so a few at a time come to many.
_EXAMPLES = size("CDMD_EXAMPLES", short=40, long=500)
settings.register_profile("unhurried", deadline=None, max_examples=_EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
if "CI" not in os.environ:
    settings.load_profile("unhurried")  # hypothesis has one for CI, which is as patient

_BOUNDS = ("RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_AS", "RLIMIT_FSIZE")
_MOST_CORES = 4
_WATCHED = {"intake", "identity", "privacy", "store"}
_WATCHED_SECONDS = 0.5  # of the processor's time
_LOOKS = pytest.StashKey[Looks]()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def watching() -> BlockBuster:
    """Made once: each test only turns it on and off."""
    bb = BlockBuster("cdmd")
    # Tests load plugins within a coroutine, which the daemon does not, and the thread for it may be slow to end.
    acquire = bb.functions["threading.Lock.acquire"]
    acquire.can_block_in("cdmd/plugins/apart.py", "apart")
    waits = acquire.can_block_predicate
    acquire.can_block_predicate = lambda *args, **named: _is_entered(sys._getframe(2)) or waits(*args, **named)
    return bb


def _is_entered(frame: FrameType) -> bool:
    """Whether nothing of the function was done yet: whoever waits for a lock there is who measures lines, and none of ours."""
    return frame.f_lineno == frame.f_code.co_firstlineno


@pytest.fixture(autouse=True)
def bounds() -> Iterator[None]:
    """A bound that a test sets its process would end one of the next ones, without a word."""
    before = {name: resource.getrlimit(getattr(resource, name)) for name in _BOUNDS}
    yield
    assert {name: resource.getrlimit(getattr(resource, name)) for name in _BOUNDS} == before


@pytest.fixture(autouse=True)
def blockbuster(watching: BlockBuster) -> Iterator[None]:
    """A blocking call made by cdmd inside the event loop fails the test."""
    watching.activate()
    yield
    watching.deactivate()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """For folders two processes for each core, as real daemons are often waited for; none where only files are named."""
    cores = min(os.cpu_count() or 1, _MOST_CORES)
    return 0 if _names_only_files(config) else 2 * cores


def _names_only_files(config: pytest.Config) -> bool:
    return all(one.partition("::")[0].endswith(".py") for one in config.args)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Each process rewrites its share of the tests before it imports any."""
    if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and not _names_only_files(session.config):
        files = sorted(Path(__file__).parent.rglob("test_*.py"))
        processes = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        rewrite_share(files, session.config, number=int(worker.removeprefix("gw")), processes=processes)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where each process begins its share of the long ones comes first, so that none is left for the end."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = [one for one in items if one.get_closest_marker("acceptance")]
    quick = [one for one in items if not one.get_closest_marker("acceptance")]
    files = {path: place % processes for place, path in enumerate(dict.fromkeys(one.path for one in long))}
    shares = [[one for one in long if files[one.path] == number] for number in range(processes)]
    each = len(quick) // processes + 1
    items[:] = [one for number, share in enumerate(shares) for one in [*share, *quick[number * each : (number + 1) * each]]]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """A test marked ``alone`` waits for those in the other processes and they for it, before its own time begins.

    So does one that is looked at again.
    """
    turns = Turns(Path(item.config.rootpath) / ".pytest_cache")
    with turns.alone() if item.get_closest_marker("alone") or is_second(item) else turns.beside():
        done = yield
    if looks := item.config.stash.get(_LOOKS, None):
        looks.again(item, nextitem)
    return done


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """In xdist's processes pytest-cov takes its own measuring away for ``no_cover``, and another one below goes on."""
    tracer = sys.gettrace()
    if item.get_closest_marker("no_cover"):
        sys.settrace(None)
    elif tracer is not None and item.path.parent.name not in _WATCHED:
        signal.signal(signal.SIGVTALRM, lambda *_: sys.settrace(None))
        signal.setitimer(signal.ITIMER_VIRTUAL, _WATCHED_SECONDS)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        sys.settrace(tracer)


def pytest_configure(config: pytest.Config) -> None:
    """A runner in the background has SIGINT ignored, and what the tests start would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not _names_only_files(config):
        rows = promises((config.rootpath / "README.md").read_text())
        config.stash[_LOOKS] = Looks({name.partition("[")[0] for row in rows for name in row.tests})
        config.pluginmanager.register(config.stash[_LOOKS], "looks")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where CI is set every real part must be there: a skipped test is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if os.environ.get("CI") and skipped and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"CI is set and a real part is missing; skipped tests: {len(skipped)}", red=True)
