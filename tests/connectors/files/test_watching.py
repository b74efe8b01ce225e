import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.connectors.files.area import Listed, Version
from cdmd.connectors.files.ledger import BLOCKED, DONE, DUPLICATE, GONE, PARSING, QUARANTINED, SEEN, Entry, Known
from cdmd.connectors.files.watching import Close, Leave, Moment, Note, Settle, Take, Tidy, decide

PATH = b"customers.csv"


def moment(steady: float, listing: int, session: bytes = b"one") -> Moment:
    return Moment(session, steady, int(steady * 1e6), listing)


def listed(size: int = 10, mtime: int = 1) -> Listed:
    return Listed(PATH, Version(size, mtime))


def noted(action: object) -> Entry:
    assert isinstance(action, Note)
    return action.entry


def over(state: str = DONE, **given: object) -> Entry:
    return Entry(**{"state": state, "size": 10, "mtime": 1, "since": 0, "after": "kept", **given})  # type: ignore[arg-type]


def test_a_new_file_settles_until_it_was_the_same_for_long_enough_at_two_listings() -> None:
    entry = noted(decide(listed(), Known(), moment(0, 1), stable_for=30))
    assert (entry.state, entry.generation) == (SEEN, 1)
    assert decide(listed(), Known(open=entry), moment(20, 2), stable_for=30) == Settle(10)
    assert decide(listed(), Known(open=entry), moment(31, 3), stable_for=30) == Take(entry)


def test_even_without_a_time_to_settle_one_listing_is_not_enough() -> None:
    entry = noted(decide(listed(), Known(), moment(0, 1), stable_for=0))
    assert isinstance(decide(listed(), Known(open=entry), moment(0, 1), stable_for=0), Settle)
    assert isinstance(decide(listed(), Known(open=entry), moment(0, 2), stable_for=0), Take)


@given(st.integers(-(10**18), 10**18))
def test_the_files_own_time_never_makes_it_whole(mtime: int) -> None:
    entry = noted(decide(listed(mtime=mtime), Known(), moment(0, 1), stable_for=30))
    assert isinstance(decide(listed(mtime=mtime), Known(open=entry), moment(29, 2), stable_for=30), Settle)


def test_whatever_changes_starts_the_wait_anew_and_says_why() -> None:
    entry = noted(decide(listed(10), Known(), moment(0, 1), stable_for=30))
    for size, mtime, reason in ((11, 1, "growing"), (9, 1, "smaller"), (10, 2, "changed")):
        changed = noted(decide(listed(size, mtime), Known(open=entry), moment(31, 2), stable_for=30))
        assert reason in changed.reason
        assert isinstance(decide(listed(size, mtime), Known(open=changed), moment(60, 3), stable_for=30), Settle)
        assert isinstance(decide(listed(size, mtime), Known(open=changed), moment(61, 4), stable_for=30), Take)


def test_what_another_process_measured_counts_for_nothing() -> None:
    entry = noted(decide(listed(), Known(), moment(1000, 7), stable_for=30))
    again = decide(listed(), Known(open=entry), moment(5000, 8, b"two"), stable_for=30)
    assert noted(again).session == b"two"


def test_a_file_that_was_begun_goes_on_at_once_unless_it_changed() -> None:
    entry = over(PARSING, record=500, session=b"one")
    assert decide(listed(), Known(open=entry), moment(0, 1, b"two"), stable_for=30) == Take(entry)
    replaced = noted(decide(listed(12), Known(open=entry), moment(0, 1, b"two"), stable_for=30))
    assert (replaced.generation, replaced.record) == (2, 0)
    assert "up to record 500" in replaced.reason


def test_a_file_that_is_over_is_left_alone_and_another_content_is_a_new_generation() -> None:
    for state in (DONE, DUPLICATE, QUARANTINED):
        assert decide(listed(), Known(over=over(state)), moment(0, 1), stable_for=30) == Leave()
    assert noted(decide(listed(11), Known(over=over(generation=4)), moment(0, 1), stable_for=30)).generation == 5


def test_what_was_taken_away_and_is_there_again_is_another_file_whatever_its_size_and_time() -> None:
    for after in ("deleted", "moved"):
        assert noted(decide(listed(), Known(over=over(after=after)), moment(0, 1), stable_for=30)).generation == 2


def test_what_was_read_and_not_tidied_up_is_tidied_up_and_what_was_not_read_never() -> None:
    assert decide(listed(), Known(over=over(after="")), moment(0, 1), stable_for=30) == Tidy(over(after=""))
    assert decide(listed(), Known(over=over(QUARANTINED, after="")), moment(0, 1), stable_for=30) == Leave()


def test_an_entry_that_is_no_file_is_closed_once() -> None:
    bad = Listed(b"a/../b", Version(1, 1), "its name leads out of its folder")
    action = decide(bad, Known(), moment(0, 1), stable_for=0)
    assert isinstance(action, Close)
    assert action.entry.state == BLOCKED
    assert decide(bad, Known(over=action.entry), moment(9, 2), stable_for=0) == Leave()


def test_a_blocked_file_is_tried_again_but_hurries_nobody() -> None:
    entry = over(BLOCKED, session=b"one", sighted=0.0, listing=1)
    assert decide(listed(), Known(open=entry), moment(10, 2), stable_for=30) == Leave()
    assert decide(listed(), Known(open=entry), moment(31, 3), stable_for=30) == Take(entry)


@pytest.mark.parametrize(("tries", "pause"), [(1, 60), (2, 120), (4, 480), (5, 900), (10_000, 900)])
def test_what_is_read_in_vain_again_and_again_rests_ever_longer_until_it_changes(tries: int, pause: float) -> None:
    entry = over(BLOCKED, session=b"one", sighted=0.0, listing=1, tries=tries)
    assert decide(listed(), Known(open=entry), moment(pause - 1, 9), stable_for=30) == Leave()
    assert decide(listed(), Known(open=entry), moment(pause, 9), stable_for=30) == Take(entry)
    assert noted(decide(listed(11), Known(open=entry), moment(1, 2), stable_for=30)).tries == 0


def test_what_had_left_and_is_there_again_settles_anew_and_goes_on_from_where_it_was() -> None:
    gone = over(GONE, after="", digest=b"d", record=500, records=900, taken=400, generation=2)
    back = noted(decide(listed(), Known(over=gone), moment(7, 3, b"two"), stable_for=30))
    assert (back.state, back.generation, back.digest, back.record, back.taken) == (SEEN, 2, b"d", 500, 400)
    assert decide(listed(), Known(open=back, over=gone), moment(37, 4, b"two"), stable_for=30) == Take(back)
    assert noted(decide(listed(11), Known(over=gone), moment(7, 3), stable_for=30)).record == 0
