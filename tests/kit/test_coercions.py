# ruff: noqa: E501 - a row of a table stays a row

import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.errors import TemplateFault
from cdmd.kit.coercions import as_moment, as_text, as_time, kind_of, plain_number

MOMENT = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "null"),
        (True, "boolean"),
        (1, "number"),
        (1.5, "number"),
        ("x", "string"),
        ([], "array"),
        ({}, "object"),
        (b"", "bytes"),
    ],
)
def test_a_kind_has_its_json_name(value: object, kind: str) -> None:
    assert kind_of(value) == kind


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e16, "10000000000000000"), (1.0e5, "100000"), (42.0, "42"), (-0.0, "0"), (0.1, "0.1"), (1e-7, "0.0000001"),
        (2**70, "1180591620717411303424"), (100, "100"), (Decimal("1E+3"), "1000"), (1234.50, "1234.5"),
    ],
)  # fmt: skip
def test_numbers_are_written_in_plain_decimal(value: float, text: str) -> None:
    assert plain_number(value) == as_text(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_plain_decimal_reads_back_as_the_same_number(value: float) -> None:
    text = plain_number(value)
    assert float(text) == value
    assert set(text) <= set("-.0123456789")


@pytest.mark.parametrize(
    "value", [None, True, [], {}, math.nan, math.inf, pytest.param(10**5000, id="five thousand digits"), "\ud800", b"x"]
)
def test_what_is_no_text_is_a_fault_that_shows_its_kind_and_never_the_value(value: object) -> None:
    with pytest.raises(TemplateFault) as caught:
        as_text(value, expression="{customer.no}")
    assert caught.value.kind == kind_of(value)
    assert caught.value.expression == "{customer.no}"
    assert str(caught.value).startswith("{customer.no}: ")


def test_text_is_taken_as_it_is() -> None:
    assert as_text(" Åsa ") == " Åsa "
    assert as_text("plain") == "plain"


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-23T10:00:00Z", "2026-11-23t10:00:00z", "2026-11-23 12:00:00+02:00", "2026-11-23T04:30:00-0530",
        "2026-11-23T10:00:00.000000999Z", "2026-11-23T09:59:60Z", 1795428000, 1795428000.0, "1795428000", "1795428000.0",
        1795428000000, "1795428000000", " 1795428000 ", "/Date(1795428000000)/", "/Date(1795428000000+0120)/", Decimal(1795428000), MOMENT, MOMENT.astimezone(timezone(timedelta(hours=5))),
    ],
)  # fmt: skip
def test_one_moment_is_read_from_every_form(value: object) -> None:
    assert as_time(value) == MOMENT
    assert as_time(value).tzinfo is UTC


def test_fractions_are_kept_to_the_microsecond() -> None:
    assert as_time("2026-11-23T10:00:00.12Z").microsecond == 120_000
    assert as_time(1795428000.25).microsecond == 250_000
    assert as_time(1795428000123).microsecond == 123_000


def test_the_first_and_the_last_moment_are_taken() -> None:
    assert as_time(0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert as_time(253_402_300_799_000) == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        None, True, [], {}, b"", math.nan, math.inf, -1, -0.5, 10**18, pytest.param(10**5000, id="five thousand digits"), 1e300, "", "/Date(-1)/", "/Date(1e9)/", "yesterday", "2026-11-23",
        "2026-11-23T10:00:00", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-01-01T25:00:00Z", "2026-01-01T00:00:61Z",
        "2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00+00:60", "9999-12-31T23:59:59-01:00", "9999-12-31T23:59:60Z",
        "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "1969-12-31T23:59:59Z", "٢٠٢٦-11-23T10:00:00Z", "9" * 31,
        pytest.param("9" * 5000, id="text of five thousand digits"), "\ud800", "1e9", "-5", Decimal("NaN"), datetime(2026, 1, 1), datetime(1969, 1, 1, tzinfo=UTC),  # noqa: DTZ001
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
    ],
)  # fmt: skip
def test_anything_else_is_no_time(value: object) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        as_time(value)


def test_a_date_alone_is_a_moment_where_one_is_asked_for() -> None:
    assert as_moment("2026-11-23") == datetime(2026, 11, 23, tzinfo=UTC)
    assert as_moment("2026-11-23T10:00:00Z") == MOMENT
    for wrong in ("2026-02-30", "1969-12-31", "2026-11-23 ", "soon", None):
        with pytest.raises(ValueError, match="is not a time"):
            as_moment(wrong)


@given(st.datetimes(), st.integers(0, 6))
def test_the_plain_form_in_utc_means_what_any_other_spelling_of_it_means(moment: datetime, digits: int) -> None:
    fraction = f".{moment.microsecond:06}"[: digits + 1] if digits else ""
    text = f"{moment.replace(microsecond=0).isoformat()}{fraction}"
    told = []
    for spelling in (f"{text}Z", f"{text}z", f"{text}+00:00", f"{text}-0000"):
        try:
            told.append(as_time(spelling))
        except ValueError as error:
            told.append(str(error))
    assert told == told[:1] * 4


@given(
    st.one_of(
        st.text(),
        st.integers(),
        st.floats(),
        st.datetimes(),
        st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", fullmatch=True),
    )
)
def test_a_time_is_either_read_within_1970_to_9999_or_a_value_error(value: object) -> None:
    try:
        moment = as_time(value)
    except ValueError:
        return
    assert datetime(1970, 1, 1, tzinfo=UTC) <= moment
