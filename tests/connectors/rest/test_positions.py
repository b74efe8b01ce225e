"""Positions: how they are read, written, compared and moved."""

from typing import Any

import pytest

from cdmd.connectors.rest.positions import Place, Positions, less, shown
from cdmd.connectors.rest.settings import SinceSettings
from cdmd.kit.quantities import Duration

NOON = 1_767_268_800_000_000  # 2026-01-01T12:00:00Z


def positions(**named: Any) -> Positions:
    return Positions(SinceSettings(field="{at}", **named))


@pytest.mark.parametrize(
    ("form", "value", "written"),
    [
        ("rfc3339", "2026-01-01T13:00:00+01:00", "2026-01-01T12:00:00Z"),
        ("rfc3339", "2026-01-01T12:00:00.250Z", "2026-01-01T12:00:00.250Z"),
        ("rfc3339", "/Date(1767268800000)/", "2026-01-01T12:00:00Z"),
        ("unix", "2026-01-01T12:00:00.9Z", 1_767_268_800),
        ("unix", 1_767_268_800, 1_767_268_800),
        ("unix_ms", 1_767_268_800_123, 1_767_268_800_123),
        ("date", "2026-01-01", "2026-01-01"),
        ("date", "2026-01-01T12:00:00Z", "2026-01-01"),
        ("%Y-%m-%d %H:%M:%S", "2026-01-01 12:00:00", "2026-01-01 12:00:00"),
        ("%Y%m%d", "2026-01-01T12:00:00Z", "20260101"),
        ("%d.%m.%Y %H:%M:%S %z", "01.01.2026 14:00:00 +0200", "01.01.2026 12:00:00 +0000"),
        ("number", 17, 17),
        ("number", "17", 17),
        ("number", "-1.5", -1.5),
        ("text", "abc", "abc"),
        ("text", 17, "17"),
    ],
)
def test_a_position_is_written_as_it_is_declared(form: str, value: Any, written: Any) -> None:
    one = positions(format=form)
    assert one.written(one.of({"at": value})) == written


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("rfc3339", "yesterday"), ("rfc3339", None), ("rfc3339", True), ("rfc3339", {}), ("number", True), ("number", "x"),
        ("number", float("inf")), ("number", [1]), ("%Y-%m-%d", "01.01.2026"), ("unix", "2026-01-01"),
    ],
)  # fmt: skip
def test_what_is_no_position_stands_nowhere(form: str, value: Any) -> None:
    assert positions(format=form).of({"at": value}) is None


def test_a_record_of_another_shape_stands_nowhere() -> None:
    assert Positions(SinceSettings(field="{length(at)}")).of({"at": 3}) is None
    assert Positions(SinceSettings(etag=True)).of({"at": 3}) is None


@pytest.mark.parametrize(
    ("form", "earlier"),
    [("rfc3339", "2026-01-01T11:59:59Z"), ("unix", 1_767_268_799), ("unix_ms", 1_767_268_799_999), ("date", "2025-12-31"),
     ("%Y-%m-%d", "2025-12-31"), ("%Y-%m-%dT%H:%M:%S", "2026-01-01T11:59:59"), ("%H:%M:%S.%f", "11:59:59.999999")],
)  # fmt: skip
def test_a_source_that_leaves_the_boundary_out_is_asked_a_moment_earlier(form: str, earlier: Any) -> None:
    assert positions(format=form, inclusive=False).written(NOON) == earlier
    assert positions(format="number", inclusive=False).written(7) == 6


def test_the_lookback_is_taken_from_a_position_and_never_from_the_beginning() -> None:
    one = positions(initial="2026-01-01T12:00:00Z", lookback=Duration.parse("5m"))
    assert (one.since(None), one.since(NOON)) == (NOON, NOON - 300_000_000)


def test_the_edge_begins_where_the_next_request_does_after_it_was_rounded_down() -> None:
    assert positions(format="unix").edge(NOON + 900_000) == NOON
    assert positions(format="date").edge(NOON) == NOON - 12 * 3_600_000_000
    assert positions(format="number", inclusive=False).edge(7) == 6
    assert positions(format="text").edge("b") == "b"
    assert positions().edge(None) is None


def test_a_position_moves_only_forwards_and_never_ahead_of_the_source_s_own_clock() -> None:
    one = positions()
    assert one.advanced(None, NOON, now=NOON) == NOON
    assert one.advanced(NOON, NOON - 1, now=NOON) == NOON
    assert one.advanced(NOON, None, now=NOON) == NOON
    assert one.advanced(NOON, NOON + 300_000_001, now=NOON) == NOON
    assert one.advanced(NOON, NOON + 300_000_000, now=NOON) == NOON + 300_000_000
    assert positions(format="number").advanced(5, 10**18, now=NOON) == 10**18
    assert positions(format="text").advanced(5, "a", now=NOON) == "a", "another kind: the format was changed"


def test_text_and_numbers_do_not_come_before_each_other() -> None:
    assert (less("a", "b"), less("b", "a"), less(1, 2), less(1, "b"), less("a", 2)) == (True, False, True, False, False)


def test_a_beginning_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="not a time"):
        positions(initial="soon")


def test_a_place_is_shown_in_words() -> None:
    assert shown(Place(position=NOON), positions()) == "2026-01-01T12:00:00Z"
    assert shown(Place(position=7), positions(format="number")) == "7"
    assert shown(Place(kept="abc"), None) == "the source's own cursor (3 characters)"
    assert shown(Place(etag="x"), None) == "the ETag"
    assert shown(Place(), positions()) == "nothing (every look begins at the beginning)"
