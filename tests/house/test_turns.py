"""How tests in several processes keep out of each other's way."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread

from tests.turns import Turns


@contextmanager
def another(turns: Turns, *, alone: bool) -> Iterator[Event]:
    """Somebody else who wants in; the event is set once they are, and they leave at once."""
    inside = Event()

    def enter() -> None:
        with turns.alone() if alone else turns.beside():
            inside.set()

    thread = Thread(target=enter)
    thread.start()
    yield inside
    thread.join(10)


def test_those_who_need_not_be_alone_run_beside_each_other(tmp_path: Path) -> None:
    turns = Turns(tmp_path)
    with turns.beside(), another(turns, alone=False) as inside:
        assert inside.wait(10)


def test_nobody_runs_beside_who_is_alone(tmp_path: Path) -> None:
    turns = Turns(tmp_path)
    with ExitStack() as stack:
        with turns.alone():
            inside = stack.enter_context(another(turns, alone=False))
            assert not inside.wait(0.1)
        assert inside.wait(10)


def test_who_waits_to_be_alone_is_not_overtaken(tmp_path: Path) -> None:
    turns = Turns(tmp_path)
    with ExitStack() as stack:
        with turns.beside():
            first = stack.enter_context(another(turns, alone=True))
            assert not first.wait(0.1)
            second = stack.enter_context(another(turns, alone=False))
            assert not second.wait(0.1), "it came later"
        assert first.wait(10)
        assert second.wait(10)
