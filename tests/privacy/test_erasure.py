"""What is left of activities, entries and rows when somebody is to be forgotten."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from cdmd.models import Activity, Entry, Event, Fault, Journaled, Micros, ProfileKey, Seq, tombstone
from cdmd.privacy.erasure import Copy, Forgotten, copies_since
from cdmd.privacy.texts import blanking
from tests.privacy.test_suppressions import JOE, KINDS

PHONE = ("phone", "+46701740605")


def event(**identifiers: str) -> Event:
    return Event(id="1", source="shop", type="t", received=datetime(2026, 11, 23, tzinfo=UTC), identifiers=identifiers)


def activity(seq: int, profile: int, **identifiers: str) -> Activity:
    return Activity(seq=Seq(seq), profile=ProfileKey(profile), time=Micros(0), event=event(**identifiers), rule="new")


def test_ones_own_activities_go_whatever_they_say_and_of_others_only_what_is_ones_own() -> None:
    forgotten = Forgotten([JOE], KINDS)
    forgotten.learn([activity(1, 7, email="Joe@Example.com"), activity(2, 7, customer_no="4711")])
    assert forgotten.seqs == {1, 2}
    assert forgotten.spellings == {"joe@example.com", "Joe@Example.com"}
    assert forgotten.left_of_activity(activity(2, 7, customer_no="4711")) is None
    other = activity(3, 8, customer_no="4712", email="joe@example.com")
    left = forgotten.left_of_activity(other)
    assert left is not None
    assert (left.seq, left.event.identifiers) == (3, {"customer_no": "4712"})
    stranger = activity(4, 9, email="ann@example.com")
    assert forgotten.left_of_activity(stranger) is stranger
    assert forgotten.left_of_activity(activity(5, 9, email="joe@example.com")) is None


def test_what_can_be_nobody_elses_is_blanked_in_the_words_of_others() -> None:
    said = event(customer_no="4712")
    said.data.update(
        {"note": "Ask Joe@Example.com or xjoe@example.com, <joe@example.com>", "n": 471100, "by": ["+46701740605"]}
    )
    said.traits.update({"joe@example.com": {"tel": "+467017406051"}, "sha": "ab" * 32, "no": "471100"})
    other = msgspec.structs.replace(activity(3, 8), event=said)
    forgotten = Forgotten([JOE, PHONE, ("customer_no", "471100"), ("email_sha256", "ab" * 32)], KINDS)
    left = forgotten.left_of_activity(other)
    assert left is not None
    assert left.event.data == {"note": "Ask [erased] or xjoe@example.com, <[erased]>", "n": 471100, "by": ["[erased]"]}
    assert left.event.traits == {"[erased]": {"tel": "+467017406051"}, "sha": "[erased]", "no": "471100"}
    assert forgotten.left_of_activity(left) is left
    assert forgotten.others.keys() == set(), "nobody met it"
    numbered = Forgotten([("customer_no", "471100")], KINDS)
    assert numbered.left_of_activity(other) is other, "a number may be anything"


def test_what_joins_nobody_and_is_theirs_goes_from_the_identifiers_of_others() -> None:
    forgotten = Forgotten([JOE], KINDS)
    said = event(customer_no="4712", invited_by="Joe@Example.com", host="eve@example.com")
    said.traits.clear()
    said.data.clear()
    left = forgotten.left_of_activity(msgspec.structs.replace(activity(3, 8), event=said))
    assert left is not None
    assert left.event.identifiers == {"customer_no": "4712", "host": "eve@example.com"}
    assert forgotten.left_of_activity(left) is left


@pytest.mark.parametrize(
    ("whose", "said", "left"),
    [
        ("o'brien@example.com", "ask O'Brien@example.com.", "ask [erased]."),
        ("brien@example.com", "ask o'brien@example.com", "ask o'brien@example.com"),
        ("joe@example.com", "mail='joe@example.com'", "mail='[erased]'"),
        ("joe@example.com", "joe@example.com-- he asked", "[erased]-- he asked"),
        ("joe@example.com", "*joe@example.com*, joe@example.com.au", "*[erased]*, joe@example.com.au"),
    ],
)
def test_an_address_is_blanked_as_a_whole_and_nothing_beside_it(whose: str, said: str, left: str) -> None:
    blank = blanking([whose])
    assert blank is not None
    assert blank(said) == left


def test_it_is_blanked_however_deep_and_in_records_that_could_not_be_mapped() -> None:
    forgotten, fault = Forgotten([JOE], KINDS), Fault("null", "no id")
    deep: Any = "ask joe@example.com"
    for _ in range(500):
        deep = [deep]
    said = msgspec.structs.replace(event(customer_no="4712"), data={"deep": deep, "other": deep[0]})
    left = forgotten.left_of(Entry(said, fault, b'{"note":"ask joe@example.com, 12"}'))
    assert left is not None
    assert "joe" not in str(left.event.data)
    assert left.raw == b'{"note":"ask [erased], 12"}'
    for raw in (b'{"note":"ask ann@example.com"}', b"ask joe@example.com", b""):
        other = Entry(event(customer_no="4712"), fault, raw)
        assert forgotten.left_of(other) is other


def test_a_long_text_takes_no_longer_than_its_length() -> None:
    blank = blanking(["joe@example.com"])
    assert blank is not None
    long = "a" * 1_000_000 + "@", "a@" * 500_000, "a.a@" * 250_000, "+1" * 500_000, "a@b" + ".c" * 500_000, "a'" * 500_000
    for text in long:
        assert blank(text) == text
        assert blank(f"{text} joe@example.com") == f"{text} [erased]"


def test_the_journals_entries_leave_their_place() -> None:
    forgotten = Forgotten([JOE], KINDS)
    forgotten.learn([activity(2, 7, customer_no="4711")])
    entries = [event(email="joe@example.com"), event(customer_no="4711"), event(email="ann@example.com")]
    rows = [Journaled(Seq(seq), Entry(one)) for seq, one in enumerate(entries, 1)]
    rows.append(Journaled(Seq(4), Entry(event(customer_no="4712", email="joe@example.com"))))
    revised = forgotten.revised(rows)
    assert revised == {
        1: tombstone(rows[0].entry),
        2: tombstone(rows[1].entry),
        4: Entry(event(customer_no="4712")),
    }
    assert tombstone(rows[0].entry).event == Event(id="", source="shop", type="", received=event().received)
    again = [msgspec.structs.replace(row, entry=revised.get(row.seq, row.entry)) for row in rows]
    assert forgotten.revised(again) == {}, "what is done needs not be done again"


def test_a_record_that_could_not_be_mapped_goes_where_it_names_one() -> None:
    forgotten, fault = Forgotten([JOE], KINDS), Fault("null", "no id")
    assert forgotten.left_of(Entry(event(), fault, b'{"mail":"joe@example.com"}')) is None
    other = Entry(event(), fault, b'{"mail":"ann@example.com"}')
    assert forgotten.left_of(other) is other


def test_where_a_value_may_be_written_in_many_ways_everything_is_looked_at() -> None:
    assert Forgotten([JOE], KINDS).holding.texts == [b"joe@example.com"]
    assert Forgotten([JOE, ("email_sha256", "0" * 64)], KINDS).holding.texts is None
    assert Forgotten([("email", "åsa@example.com")], KINDS).holding.texts is None


def test_rows_of_others_are_looked_at_for_what_is_long_enough_to_say_who_it_is() -> None:
    forgotten = Forgotten([JOE, ("customer_no", "12")], KINDS)
    assert forgotten.in_row(b"file/JOE@example.com.csv", b"")
    assert not forgotten.in_row(b"file/12.csv", b"12")


def test_a_digest_is_ones_own_when_what_it_is_of_is() -> None:
    (digest,) = KINDS.digests(JOE)
    assert Forgotten([digest], KINDS).unwanted(JOE)
    assert not Forgotten([JOE], KINDS).unwanted(("email", "ann@example.com"))


def test_copies_that_were_made_before_somebody_came_hold_nothing_of_them() -> None:
    copies = [Copy(path="a", made=1), Copy(path="b", made=5), Copy(path="c", made=9)]
    assert [one.path for one in copies_since(copies, 5)] == ["b", "c"]
