"""What a sender says of its trace (W3C Trace Context): taken in the form of the standard, and otherwise not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.kit.spans import SpanContext, span_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


def test_it_is_taken_and_handed_on_as_it_was() -> None:
    found = span_of({"traceparent": GOOD, "tracestate": "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"})
    assert found == SpanContext(TRACE, SPAN, True, "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")
    assert found.headers == {"traceparent": GOOD, "tracestate": "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"}


@pytest.mark.parametrize(
    ("text", "handed_on"),
    [
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
        (f"00-{TRACE}-{SPAN}-ff", GOOD),
        (f" {GOOD} ", GOOD),
        (f"01-{TRACE}-{SPAN}-01", GOOD),
        (f"cc-{TRACE}-{SPAN}-01-what-is-to-come", GOOD),
    ],
)
def test_of_flags_and_later_versions_only_what_is_known_is_handed_on(text: str, handed_on: str) -> None:
    found = span_of({"traceparent": text})
    assert found is not None
    assert found.headers == {"traceparent": handed_on}


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD.upper(),
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}",
        f"01-{TRACE}-{SPAN}-01more",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"{GOOD}\n",
        f"{GOOD},{GOOD}",
        "joe@example.com",
        "00-" + "é" * 32 + f"-{SPAN}-01",
    ],
)
def test_what_is_not_in_the_form_says_nothing(text: str) -> None:
    found = span_of({"traceparent": text, "tracestate": "a=b"})
    assert found is None or text == f"{GOOD}\n"  # what surrounds it is the header's


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ("a=1, b=2 ,,c=3", "a=1,b=2,c=3"),
        ("tenant@vendor=x", "tenant@vendor=x"),
        ("a=joe@example.com,b=2", "b=2"),
        ("a=1,a=2", ""),
        ("A=1", ""),
        ("a=1=2", ""),
        ("a=", ""),
        ("a=é", ""),
        ("a=x\r\nx-evil: 1", ""),
        (",".join(f"k{n}=1" for n in range(33)), ""),
        ("a=" + "x" * 257, ""),
        ("a=" + "x" * 600, ""),
    ],
)
def test_a_state_is_bounded_and_addresses_are_left_out_of_it(state: str, kept: str) -> None:
    found = span_of({"traceparent": GOOD, "tracestate": state})
    assert found is not None
    assert found.state == kept


def test_a_state_without_a_parent_says_nothing() -> None:
    assert span_of({"tracestate": "a=1"}) is None
    assert span_of({}) is None


@given(st.text(max_size=80), st.text(max_size=700))
def test_whatever_is_said_what_is_handed_on_is_small_and_one_line(parent: str, state: str) -> None:
    found = span_of({"traceparent": parent if len(parent) % 2 else GOOD, "tracestate": state})
    for text in {} if found is None else found.headers.values():
        assert len(text) <= 512
        assert text.isascii()
        assert text.isprintable()
