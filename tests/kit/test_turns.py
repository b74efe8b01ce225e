from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from cdmd.kit.turns import Turns


def serve(turns: Turns, count: int) -> list[str]:
    served = []
    for _ in range(count):
        ticket = turns.first()
        if ticket is None:
            break
        turns.take(ticket)
        served.append(ticket.asker)
    return served


def test_askers_of_one_priority_take_turns_whoever_asks_most() -> None:
    turns = Turns()
    for asker in "aaaaab":
        turns.join(asker, 0)
    assert serve(turns, 6) == ["a", "b", "a", "a", "a", "a"]
    assert len(turns) == 0


def test_a_push_fetch_goes_before_a_nightly_page() -> None:
    turns = Turns()
    turns.join("night", 10)
    turns.join("push", 0)
    assert serve(turns, 2) == ["push", "night"]


def test_a_lower_priority_gets_every_fifth_turn() -> None:
    turns = Turns()
    turns.join("night", 10)
    served = []
    for _ in range(5):
        turns.join("push", 0)
        served += serve(turns, 1)
    assert served == ["push"] * 4 + ["night"]


def test_one_that_leaves_holds_up_nobody() -> None:
    turns = Turns()
    gone = turns.join("a", 0)
    turns.join("b", 0)
    turns.leave(gone)
    turns.leave(gone)
    assert serve(turns, 3) == ["b"]


def test_asking_who_is_first_changes_nothing() -> None:
    turns = Turns()
    turns.join("a", 0)
    turns.join("b", 0)
    assert turns.first() is turns.first()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), min_size=1, max_size=40))
def test_everybody_is_served_once(joined: list[tuple[str, int]]) -> None:
    turns = Turns()
    for asker, priority in joined:
        turns.join(asker, priority)
    assert Counter(serve(turns, 1000)) == Counter(asker for asker, _ in joined)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60))
def test_nobody_starves_behind_higher_priorities_that_keep_coming(priorities: list[int]) -> None:
    turns = Turns()
    turns.join("patient", 9)
    for place, priority in enumerate(priorities):
        turns.join(f"pushy{priority}", priority)
        if "patient" in serve(turns, 1):
            assert place <= 4
            return
    assert len(priorities) <= 5
