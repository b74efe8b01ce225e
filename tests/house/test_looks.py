"""What a second look lets pass and what it does not, in runs of pytest of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.reading import ROOT
from tests.looks import MOST, ran_out_of_time

pytestmark = pytest.mark.timeout(120)
CONFTEST = """
import pytest
from tests.conftest import anyio_backend, pytest_runtest_protocol, _LOOKS
from tests.looks import Looks

def pytest_configure(config):
    config.stash[_LOOKS] = Looks({"test_it.py::test_bound_to_a_promise"}, strike=0.2)
    config.pluginmanager.register(config.stash[_LOOKS])
"""
SETTINGS = """
[pytest]
addopts = --strict-config --strict-markers
filterwarnings = error
timeout = 20
timeout_method = signal
markers =
    alone: x
"""
ONCE = """
import anyio
import pytest

LOOKS = []

def first(name):
    LOOKS.append(name)
    return LOOKS.count(name) == 1
"""


def run(folder: Path, tests: str, *options: str) -> tuple[int, str]:
    """How a run of those tests ends, and what it says."""
    (folder / ".pytest_cache").mkdir(parents=True)
    for name, text in (("conftest.py", CONFTEST), ("pytest.ini", SETTINGS), ("test_it.py", ONCE + tests)):
        (folder / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100)
    return ended.returncode, ended.stdout + ended.stderr


def passed_at_the_second_look(said: str) -> list[str]:
    listed = said.partition("= passed at the second look =")[2].splitlines()
    return [line for line in listed if line.startswith("test_it.py::")]


def test_who_failed_for_once_passes_and_is_listed_with_what_the_first_look_said(tmp_path: Path) -> None:
    tests = """
@pytest.fixture(scope="module")
def server():
    kept = {"well": True}
    yield kept
    assert not first("server"), "it did not end"

def test_before(server):
    server["well"] = False

def test_after(server):
    assert server["well"], "as the one before left it"

def test_beside(server):
    assert server["well"]

def test_bound_to_a_promise():
    if first("bound"):
        raise ExceptionGroup("both", [TimeoutError(), TimeoutError()])
"""
    code, said = run(tmp_path, tests, "-n1")
    assert code == 0, said
    assert passed_at_the_second_look(said) == ["test_it.py::test_after", "test_it.py::test_bound_to_a_promise"]
    assert "as the one before left it" in said
    assert "4 passed, 3 looked at again" in said  # the server, that did not end, with them


def test_a_wrong_value_of_a_promise_and_what_fails_twice_are_failures(tmp_path: Path) -> None:
    tests = """
def test_bound_to_a_promise():
    assert not first("bound"), "an event is lost"

def test_never():
    assert False, "never"
"""
    code, said = run(tmp_path, tests)
    assert code == 1, said
    assert "2 failed, 1 looked at again" in said
    assert passed_at_the_second_look(said) == []


def test_more_than_a_few_of_them_are_a_failure(tmp_path: Path) -> None:
    tests = f"""
@pytest.mark.parametrize("number", range({MOST} + 1))
def test_one(number):
    assert not first(number)
"""
    code, said = run(tmp_path, tests)
    assert code == 1, said
    assert f"more than {MOST} are a failure" in said
    assert len(passed_at_the_second_look(said)) == MOST + 1
    assert "failed" not in said.splitlines()[-1]


def test_one_that_never_ends_is_struck_and_takes_nobody_along(tmp_path: Path) -> None:
    tests = """
HELD = []

@pytest.fixture
async def server():
    yield "well"

@pytest.mark.anyio
@pytest.mark.timeout(0.5)
async def test_hangs(server):
    async def never():
        while len(HELD) < 100:
            with anyio.CancelScope(shield=True):
                try:
                    await anyio.sleep(60)
                except BaseException:
                    HELD.append(1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(never)
        await anyio.sleep(0.1)
        raise ValueError

@pytest.mark.anyio
async def test_next(server):
    assert server == "well"
"""
    code, said = run(tmp_path, tests)
    assert code == 1, said
    assert "1 passed" in said.splitlines()[-1]
    assert passed_at_the_second_look(said) == [], "test_next needed no second one"
    assert "Failed: Timeout (>0.5s) from pytest-timeout." in said.partition("short test summary info")[2]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (TimeoutError("x"), True),
        (subprocess.TimeoutExpired("x", 1), True),
        (pytest.fail.Exception("Timeout (>40.0s) from pytest-timeout."), True),
        (pytest.fail.Exception("an event is lost"), False),
        (AssertionError("Timeout (>40.0s) from pytest-timeout."), False),
        (BaseExceptionGroup("x", [TimeoutError(), ExceptionGroup("x", [TimeoutError()])]), True),
        (BaseExceptionGroup("x", [TimeoutError(), AssertionError()]), False),
        (None, False),
    ],
)
def test_whether_time_ran_out(error: BaseException | None, says: bool) -> None:
    assert ran_out_of_time(error) is says
