"""How far a long file is: bytes or records, how many a second, and how long it takes."""

import pytest

from cdmd.connectors.files.taking import Progress
from cdmd.testing import ManualClock, RecordingSource

MIB = 2**20


@pytest.fixture
def source() -> RecordingSource:
    return RecordingSource(clock=ManualClock())


def at(source: RecordingSource, seconds: float) -> None:
    clock = source.clock
    assert isinstance(clock, ManualClock)
    clock.advance(seconds)


def test_bytes_are_told_with_their_rate_and_the_time_left(source: RecordingSource) -> None:
    progress = Progress(b"all.csv", source)
    progress.stand("fetching", 0, 100 * MIB)
    assert (progress.rate, progress.seconds_left) == (None, None)
    at(source, 4.0)
    progress.stand("fetching", 20 * MIB, 100 * MIB)
    assert (progress.rate, progress.seconds_left) == (5 * MIB, 16.0)
    assert source.worked_on[-1] == "all.csv: fetching, 20.0 of 100.0 MiB, 5.0 MiB/s, 16 s left"


def test_a_new_stage_has_a_rate_of_its_own_from_where_it_began(source: RecordingSource) -> None:
    progress = Progress(b"all.csv", source)
    progress.stand("fetching", 5, 10)
    at(source, 100.0)
    progress.stand("parsing", 1_000, 5_000)
    at(source, 2.0)
    progress.stand("parsing", 3_000, 5_000)
    assert (progress.rate, progress.seconds_left) == (1_000.0, 2.0)
    assert source.worked_on[-1] == "all.csv: parsing at record 3000 of 5000, 1000/s, 2 s left"


def test_where_nobody_knows_the_end_no_time_is_promised(source: RecordingSource) -> None:
    progress = Progress(b"a\x1b.csv", source)
    progress.stand("comparing", 0, 0)
    at(source, 1.0)
    progress.stand("comparing", 700, 0)
    assert (progress.rate, progress.seconds_left) == (700.0, None)
    assert source.worked_on == ["a\\x1b.csv: comparing at record 0", "a\\x1b.csv: comparing at record 700, 700/s"]
