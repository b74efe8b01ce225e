from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from cdmd.kit.turns import Ticket, Turns


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


@given(st.lists(st.tuples(st.sampled_from("jjjtl"), st.sampled_from("abcd"), st.sampled_from([0, 10])), max_size=80))
def test_it_is_always_the_turn_of_whoever_of_the_first_priority_was_served_longest_ago(
    steps: list[tuple[str, str, int]],
) -> None:
    """Beside a plain list that is looked through; seen to fail with an asker's next ticket not offered after it was served."""
    turns, waiting, served = Turns(), list[Ticket](), dict[tuple[int, str], int]()
    for number, (step, asker, priority) in enumerate(steps, 1):
        if step == "j":
            waiting.append(turns.join(asker, priority))
        elif waiting:
            one = turns.first() if step == "t" else waiting[number % len(waiting)]
            assert one is not None
            if step == "t":
                turns.take(one)
                served[one.priority, one.asker] = number
            else:
                turns.leave(one)
            waiting.remove(one)
            served = served if waiting else {}
        first = turns.first()
        if first is not None and all(one.priority == 0 for one in waiting):
            least = min(waiting, key=lambda one: (served.get((one.priority, one.asker), 0), one.number))
            assert first is least
        assert len(turns) == len(waiting)


def test_many_that_come_and_go_behind_one_that_stays_are_forgotten() -> None:
    turns = Turns()
    turns.join("stays", 0)
    for place in range(10_000):
        turns.leave(turns.join(f"goes{place}", 0))
    assert len(turns._levels[0]._heap) < 200
    assert len(turns) == 1
