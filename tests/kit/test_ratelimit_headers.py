import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.kit.ratelimit_headers import LONGEST, Told, retry_after, told

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 1.0),
        ({"retry-after": "1800000030"}, 30.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:20 GMT"}, 20.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:20 GMT", "date": "Fri, 15 Jan 2027 08:00:15 GMT"}, 5.0),
        ({"retry-after": "Friday, 15-Jan-27 08:00:20 GMT"}, 20.0),
        ({"retry-after": "Fri, 15 Jan 2027 07:00:00 GMT"}, 1.0),
        ({"retry-after": "Sun, 15 Jan 2127 07:00:00 GMT"}, LONGEST),
        ({"retry-after": "99999999"}, LONGEST),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "1e9"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_understood_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, wall=NOW) == seconds


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"ratelimit": '"default";r=50;t=30'}, Told(None, 50, 30.0)),
        ({"ratelimit": '"hour";r=900;t=3000, "burst";r=2;t=9'}, Told(None, 2, 9.0)),
        ({"ratelimit-limit": "100, 100;w=60", "ratelimit-remaining": "7", "ratelimit-reset": "12"}, Told(None, 7, 12.0, 100)),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1800000040"}, Told(None, 0, 40.0)),
        ({"x-rate-limit-remaining": "1", "x-rate-limit-reset": "1800000040000"}, Told(None, 1, 40.0)),
        ({"x-ratelimit-remaining": "3"}, Told()),
        ({"ratelimit": "r=;t=x", "x-ratelimit-remaining": "many", "x-ratelimit-reset": "5"}, Told()),
    ],
)
def test_every_family_of_rate_limit_headers_is_understood(headers: dict[str, str], expected: Told) -> None:
    assert told(200, headers, wall=NOW) == expected


def test_a_429_whose_quota_is_used_up_says_when_to_come_back() -> None:
    assert told(429, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "33"}, wall=NOW).pause == 33.0
    assert told(429, {"x-ratelimit-remaining": "5", "x-ratelimit-reset": "33"}, wall=NOW).pause is None


def test_retry_after_counts_on_429_and_503_only() -> None:
    assert [told(status, {"retry-after": "5"}, wall=NOW).pause for status in (200, 301, 429, 500, 503)] == [
        None, None, 5.0, None, 5.0,
    ]  # fmt: skip


@given(st.dictionaries(st.sampled_from(["retry-after", "ratelimit", "x-ratelimit-remaining", "x-ratelimit-reset"]), st.text()))
def test_nothing_that_a_header_holds_breaks_it(headers: dict[str, str]) -> None:
    said = told(429, headers, wall=NOW)
    for seconds in (said.pause, said.reset):
        assert seconds is None or 1.0 <= seconds <= LONGEST
