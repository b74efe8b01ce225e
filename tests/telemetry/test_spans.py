"""What is told of an event's way, and of which events; a queue that is never waited for."""

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from cdmd.kit.spans import SpanContext
from cdmd.models import Apply, Attempt, Delivery, Entry, Event, Extended, Item, Micros, Seq, Settled, to_micros
from cdmd.telemetry.queue import SpanQueue
from cdmd.telemetry.spans import Span, Spans
from cdmd.testing import ManualClock

AT = datetime(2026, 11, 23, 10, tzinfo=UTC)
THEIRS = SpanContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", sampled=True)


def entry(span: SpanContext | None = None) -> Entry:
    event = Event(
        id="joe@example.com", source="shop", type="paid", received=AT, identifiers={"email": "joe@example.com"}, data={"n": 1}
    )
    return Entry(event, span=span)


def told(sample: float = 1.0) -> tuple[Spans, list[Span], ManualClock]:
    spans: list[Span] = []
    clock = ManualClock(AT + timedelta(seconds=1))
    return Spans(spans.append, journal_id="j", sample=sample, clock=clock), spans, clock


def settled(seq: int | None, span: SpanContext | None = None, outcome: str = "delivered", status: int | None = 204) -> Settled:
    place, at = None if seq is None else Seq(seq), Micros(to_micros(AT) + 3_000_000)
    delivery = Delivery(id="d", target="crm", type="paid", at=to_micros(AT), body=b"{}", seq=place, span=span)
    attempt = Attempt(at=at, target="crm", id="d", type="paid", attempt=1, outcome=outcome, seconds=0.5, status=status)
    return Settled(delivery=delivery, attempt=attempt)


def test_each_step_is_a_child_of_the_event_which_is_a_child_of_the_sender() -> None:
    spans, found, clock = told()
    spans.journaled(Seq(7), [entry(THEIRS)])
    began = clock.monotonic() + 0.1
    clock.advance(1.0)
    visits = [Extended("old", 0.2, "extended"), Extended("warranty", 0.4, "failed: no answer within 2 s")]
    spans.passed(Item(seq=Seq(7), entry=entry(THEIRS), outcome=Apply(), trace=visits, began=(began,)), "applied")
    spans.settled([settled(7, THEIRS)])
    by_name = {one.name: one for one in found}
    assert list(by_name) == ["journal", "extend warranty", "store", "event shop", "deliver crm"]
    assert {one.trace for one in found} == {THEIRS.trace}
    whole = by_name["event shop"]
    assert (whole.parent, whole.theirs, whole.kind) == (THEIRS.span, True, "consumer")
    assert {one.parent for one in found if one is not whole} == {whole.span}
    second = 1_000_000_000
    start = to_micros(AT) * 1000
    assert [((one.start - start) / second, (one.end - start) / second) for one in found] == [
        pytest.approx(pair) for pair in [(0, 1), (1.1, 1.5), (1.5, 2), (0, 2), (2.5, 3)]
    ]
    assert [one.name for one in found if one.failed] == ["extend warranty"]
    assert by_name["extend warranty"].attributes["cdmd.outcome"] == "failed"
    assert by_name["deliver crm"].attributes["http.response.status_code"] == 204
    assert "joe" not in repr(found), "nothing that came in an event is told"


def test_an_event_that_came_without_a_trace_begins_one_that_its_deliveries_find_again() -> None:
    spans, found, _ = told()
    spans.passed(Item(seq=Seq(7), entry=entry(), outcome=Apply()), "dead")
    other, later, _ = told()  # after a restart
    other.settled([settled(7, outcome="later", status=None), settled(None)])
    assert [one.name for one in found] == ["store", "event shop"]
    (deliver,) = later
    assert (deliver.trace, deliver.parent) == (found[1].trace, found[1].span)
    assert found[1].parent is None
    assert found[1].failed
    assert deliver.failed


def test_what_waits_is_told_as_a_whole_when_it_does_not_wait_any_more() -> None:
    spans, found, _ = told()
    spans.journaled(Seq(1), [entry()])
    spans.passed(Item(seq=Seq(1), entry=entry(), outcome=Apply()), "parked")
    assert [one.name for one in found] == ["journal"]
    spans.passed(Item(seq=Seq(1), entry=entry(), outcome=Apply(), resumed=True), "applied")
    assert [one.name for one in found] == ["journal", "store", "event shop"]


def test_a_share_of_the_traces_is_told_chosen_by_their_ids_whatever_the_sender_asks_for() -> None:
    spans, found, _ = told(0.25)
    for seq in range(2_000):
        spans.passed(Item(seq=Seq(seq), entry=entry(), outcome=Apply()), "applied")
    share = len({one.trace for one in found}) / 2_000
    assert 0.2 < share < 0.3
    high, low = SpanContext("0" * 16 + "f" * 16, "1" * 16, sampled=True), SpanContext("f" * 16 + "0" * 15 + "1", "1" * 16)
    found.clear()
    for seq, one in enumerate((high, low)):
        spans.passed(Item(seq=Seq(seq), entry=entry(one), outcome=Apply()), "applied")
    assert {one.trace for one in found} == {low.trace}
    nothing, none, _ = told(0.0)
    nothing.passed(Item(seq=Seq(1), entry=entry(low), outcome=Apply()), "applied")
    assert none == []


def test_what_is_noted_of_events_under_way_is_bounded() -> None:
    spans, found, _ = told()
    spans.journaled(Seq(1), [entry()] * 10_001)
    spans.passed(Item(seq=Seq(1), entry=entry(), outcome=Apply()), "applied")
    assert [one.name for one in found] == ["store", "event shop"]
    spans.passed(Item(seq=Seq(2), entry=entry(), outcome=Apply()), "applied")
    assert found[2].name == "journal"


# ---- the queue -----------------------------------------------------------------------------------------------------


SPAN = Span("journal", "internal", "1" * 32, "1" * 16, None, 0, 1, {})


def queue(send: Callable[[Sequence[Span]], bool], most: int = 10) -> SpanQueue:
    return SpanQueue(send, most=most, pause=0.01)


def test_what_there_is_no_room_for_is_counted_and_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    held, sending = threading.Event(), threading.Event()
    arrived: list[int] = []

    def send(some: Sequence[Span]) -> bool:
        sending.set()
        assert held.wait(60)
        arrived.append(len(some))
        return True

    spans = queue(send)
    spans.put(SPAN)
    spans.start()
    assert sending.wait(60)
    for _ in range(14):
        spans.put(SPAN)
    assert spans.dropped == 4
    held.set()
    spans.stop(10)
    assert (arrived, spans.sent, spans.dropped) == ([1, 10], 11, 4)
    assert capsys.readouterr().out.count("spans_dropped") == 1


def test_what_does_not_arrive_is_counted_whatever_the_exporter_does(capsys: pytest.CaptureFixture[str]) -> None:
    answers: list[Callable[[], bool]] = [lambda: False, lambda: bool(1 // 0), lambda: True]
    spans = queue(lambda some: answers.pop(0)(), most=2_000)
    for _ in range(512 * 2 + 1):
        spans.put(SPAN)
    spans.start()
    spans.stop(10)
    assert (spans.sent, spans.dropped) == (1, 1024)
    said = capsys.readouterr().out
    assert (said.count("spans_dropped"), said.count("spans_arrive_again")) == (1, 1)


def test_a_daemon_that_stops_does_not_wait_for_an_endpoint_that_is_silent() -> None:
    held = threading.Event()
    spans = queue(lambda some: held.wait(30))
    spans.put(SPAN)
    spans.start()
    spans.stop(0.05)
    assert spans.sent == 0, "it did not wait until it had been sent"
    held.set()
