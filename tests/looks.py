"""The second look: what failed is run once more by itself, told of by name, and what it began does not reach its neighbours.

A test can fail because the machine was busy. As CPython's own test runner does, it is then tried again, within bounds:

* a test that a promise of README.md is bound to gets a second look only where it ran out of time, never for a wrong value;
* whoever passes at the second look is listed at the end of the output, with what the first one said;
* more than ``MOST`` of them fail the run.

It is none of the plugins that there are because each look has to have its own turn (tests/turns.py) and its own time:
pytest-timeout takes its clock away as soon as a test fails, and whoever tries again within the same turn does so without one.
"""

import gc
import signal
import subprocess
import sys
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Any

import anyio.pytest_plugin
import pytest
import pytest_timeout

AGAIN = "again"
"""The outcome of what failed and is looked at once more."""
MOST = 12
"""One of a thousand."""
_FAILED = pytest.StashKey[bool]()
_WANTED = pytest.StashKey[bool]()
_SECOND = pytest.StashKey[bool]()


def ran_out_of_time(error: BaseException | None) -> bool:
    """Whether it says that something was not done in time, and nothing else."""
    match error:
        case BaseExceptionGroup():
            return all(map(ran_out_of_time, error.exceptions))
        case TimeoutError() | subprocess.TimeoutExpired():
            return True
        case _:
            return isinstance(error, pytest.fail.Exception) and str(error).endswith("from pytest-timeout.")


def is_second(item: pytest.Item) -> bool:
    """Whether this look is the second one."""
    return item.stash.get(_SECOND, False)


class Looks:
    """The part of a test run that decides who is looked at again. ``bound`` are the tests that promises name.

    ``strike`` is how many seconds after its time a test that still does not end is struck again.
    """

    def __init__(self, bound: AbstractSet[str], *, strike: float = 60.0) -> None:
        self._bound, self._strike = bound, strike
        self._first: dict[str, pytest.TestReport] = {}
        self._failed: set[str] = set()

    def again(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """Run it once more if that is wanted, with everything it needs made anew."""
        _let_go_of_the_runner()
        if item.stash.get(_WANTED, False):
            item.stash[_WANTED], item.stash[_FAILED], item.stash[_SECOND] = False, False, True
            item.ihook.pytest_runtest_protocol(item=item, nextitem=nextitem)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
        if call.excinfo:
            item.config.hook.pytest_timeout_cancel_timer(item=item)  # the report itself is not struck
        report = yield
        if report.failed:
            item.stash[_FAILED] = True
            if not is_second(item) and self._may_have_been_the_machine(item, call):
                item.stash[_WANTED], report.outcome = True, AGAIN
        return report

    def _may_have_been_the_machine(self, item: pytest.Item, call: pytest.CallInfo[None]) -> bool:
        if item.nodeid.partition("[")[0] not in self._bound:
            return True
        return call.excinfo is not None and ran_out_of_time(call.excinfo.value)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """After a failure nothing that others would share is left, and what complains when it goes is this test's."""
        if item.stash.get(_FAILED, False):
            if (settings := pytest_timeout._get_item_settings(item)).timeout:
                item.config.hook.pytest_timeout_set_timer(item=item, settings=settings)
            try:
                item.session._setupstate.teardown_exact(None)
            finally:
                _let_go_of_the_runner()
                for name in ("last_exc", "last_type", "last_value", "last_traceback"):
                    with suppress(AttributeError):
                        delattr(sys, name)
                gc.collect()

    @pytest.hookimpl(wrapper=True)
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: Any) -> Iterator[Any]:
        """One that does not end although it was struck is struck again, or it would hold up everything for ever."""
        done = yield
        if settings.method == "signal":
            signal.setitimer(signal.ITIMER_REAL, settings.timeout, self._strike)
        return done

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        return ("looked at again", "R", "LOOKED AT AGAIN") if report.outcome == AGAIN else None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome == AGAIN:
            self._first.setdefault(report.nodeid, report)
        elif report.failed:
            self._failed.add(report.nodeid)

    def _passed(self) -> dict[str, pytest.TestReport]:
        return {name: report for name, report in self._first.items() if name not in self._failed}

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if len(self._passed()) > MOST:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not (passed := self._passed()):
            return
        terminalreporter.section("what the first look said", yellow=True)
        for name, report in passed.items():
            terminalreporter.write_sep("_", name)
            terminalreporter.write_line(report.longreprtext)
        terminalreporter.section("passed at the second look", yellow=True)
        for name in passed:
            terminalreporter.write_line(name, yellow=True)
        if len(passed) > MOST:
            terminalreporter.write_line(
                f"{len(passed)} passed at the second look only: more than {MOST} are a failure", red=True
            )


def _let_go_of_the_runner() -> None:
    """What is struck while anyio's runner closes leaves it closed, and anyio would give that one to the next test."""
    plugin = anyio.pytest_plugin
    if not plugin._runner_leases:
        plugin._current_runner = plugin._runner_stack = None
