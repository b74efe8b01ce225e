"""Public profile ids."""

from hypothesis import given
from hypothesis import strategies as st

from cdmd.identity.naming import public_id
from cdmd.models import Micros, Seq

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def number(text: str) -> int:
    value = 0
    for character in text:
        value = value * 32 + CROCKFORD.index(character)
    return value


@given(journal=st.text(max_size=40), seq=st.integers(1, 2**62), at=st.integers(0, 2**48 * 1000 - 1))
def test_an_id_is_a_ulid_whose_time_is_the_events(journal: str, seq: int, at: int) -> None:
    made = public_id(journal, Seq(seq), Micros(at))
    assert len(made) == 26
    assert made[0] <= "7"
    assert number(made) >> 80 == at // 1000


def test_the_same_event_gives_the_same_id_in_every_process() -> None:
    assert public_id("j1", Seq(7), Micros(1_700_000_000_000_000)) == "01HF7YAT0047MB0QAV70SQ9EFK"


def test_another_journal_or_another_event_gives_another_id() -> None:
    at = Micros(1_700_000_000_000_000)
    made = {public_id(journal, Seq(seq), at) for journal in ("j1", "j2") for seq in range(1, 500)}
    assert len(made) == 998


def test_times_that_a_ulid_cannot_say_are_held_within_its_range() -> None:
    assert public_id("j", Seq(1), Micros(-5)).startswith("0000000000")
    assert public_id("j", Seq(1), Micros(2**70)).startswith("7ZZZZZZZZZ")
