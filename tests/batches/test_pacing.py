"""How long the writer rests and the reader breathes, on a clock that is moved by hand; and how long a thread has its turn."""

import anyio
import pytest

from cdmd.batches.pacing import Pace, Turns
from cdmd.testing import ManualClock

pytestmark = pytest.mark.anyio


class Watch(ManualClock):
    """A clock, and the processor's time beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.cpu = 0.0

    def work(self, seconds: float, *, cpu: float) -> None:
        self.cpu += cpu
        self.advance(seconds)


def paced(watch: Watch) -> Pace:
    return Pace(watch, anyio.sleep_forever, used=lambda: watch.cpu)


@pytest.mark.parametrize(
    ("seconds", "cpu", "rest"),
    [(0.01, 0.01, 0.02), (0.01, 0.018, 0.02), (0.2, 0.004, 0.008), (0.5, 0.5, 0.05)],
    ids=["it cost what it took", "others worked beside it", "others had the processor", "never long"],
)
async def test_the_writer_rests_by_what_a_write_cost(seconds: float, cpu: float, rest: float) -> None:
    watch = Watch()
    pace = paced(watch)
    pace.begin()
    watch.work(seconds, cpu=cpu)
    pace.end()
    assert pace._rested - watch.monotonic() == pytest.approx(rest)


async def test_whole_batches_end_the_rest() -> None:
    watch = Watch()
    pace = paced(watch)
    pace.begin()
    watch.work(1.0, cpu=1.0)
    pace.end()
    with anyio.fail_after(0.04):
        await pace.rest(lambda: True)


def test_the_reader_breathes_while_it_is_written_and_no_longer_than_the_writer_rests() -> None:
    watch = Watch()
    pace = paced(watch)
    ends = watch.monotonic() + 0.01
    assert pace._breath(ends) <= 0.0
    pace.begin()
    assert pace._breath(ends) == pytest.approx(0.01)
    watch.work(0.002, cpu=0.002)
    pace.end()
    assert pace._breath(ends) == pytest.approx(0.004)


def turns() -> tuple[Turns, ManualClock, list[bool]]:
    clock, told = ManualClock(), list[bool]()
    return Turns(clock, told.append), clock, told


def test_turns_are_long_for_a_backlog_and_short_as_soon_as_something_arrives() -> None:
    made, _, told = turns()
    made.reads(far=True)
    made.reads(far=True)  # whatever was set between them by others
    assert told == [True, True]
    made.arrived()
    assert told == [True, True, False]
    made.reads(far=True)
    made.arrived()
    assert told == [True, True, False]


def test_turns_are_long_again_a_second_after_the_last_arrival() -> None:
    made, clock, told = turns()
    made.arrived()
    clock.advance(0.9)
    made.reads(far=True)
    assert told == []
    clock.advance(0.2)
    made.reads(far=True)
    assert told == [True]


def test_turns_are_short_when_the_backlog_ends() -> None:
    made, _, told = turns()
    made.reads(far=False)
    assert told == []
    made.reads(far=True)
    made.reads(far=False)
    made.reads(far=False)
    assert told == [True, False]
