from cdmd.batches.pacing import Turns
from cdmd.testing import ManualClock


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
