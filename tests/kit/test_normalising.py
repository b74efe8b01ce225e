import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.kit.normalising import TRUNK_ZERO, Form, normalise


@pytest.mark.parametrize(
    ("form", "value", "normal"),
    [
        ("none", " Ab ", " Ab "), ("none", "", None), ("trim", " Ab\n", "Ab"), ("trim", "  ", None), ("lower", " ÅB ", "åb"),
        ("email", " Joe@Example.COM ", "joe@example.com"), ("email", "j.o.e+x@gmail.com", "j.o.e+x@gmail.com"),
        ("email", "a\u030asa@x.se", "\u00e5sa@x.se"), ("email", "joe", None), ("email", "@x", None), ("email", "joe@", None),
        ("email", "a@b@c", None), ("email", "a b@c", None), ("email", "", None),
        ("phone", "+46 (0)70-123 45 67", "+46701234567"), ("phone", "0046701234567", "+46701234567"),
        ("phone", "+1 (555) 010.9999", "+15550109999"), ("phone", "0701234567", None), ("phone", "701234567", None),
        ("phone", "+460701234567", None), ("phone", "+0701234567", None), ("phone", "+46", None), ("phone", "1" * 40, None),
        ("phone", "+4670123456x", None), ("phone", "call me", None), ("phone", "+\u0664\u0666701234567", None),
    ],
)  # fmt: skip
def test_a_value_is_brought_to_its_form(form: Form, value: str, normal: str | None) -> None:
    assert normalise(form, value) == normal


def test_a_national_number_needs_a_region() -> None:
    assert normalise("phone", "070-123 45 67", region="SE") == "+46701234567"
    assert normalise("phone", "070-123 45 67", region="se") == "+46701234567"
    assert normalise("phone", "070-123 45 67", region="US") is None
    assert normalise("phone", "70 123 45 67", region="SE") is None
    assert normalise("phone", "+47 12345678", region="SE") == "+4712345678"
    assert normalise("phone", "000701234567", region="SE") is None


@pytest.mark.parametrize("form", ["none", "trim", "lower", "email", "phone"])
@pytest.mark.parametrize("value", ["a\ud800@b", "a\0@b", "\0"])
def test_surrogates_and_nul_have_no_form(form: Form, value: str) -> None:
    assert normalise(form, value) is None


@given(
    st.sampled_from(["none", "trim", "lower", "email", "phone"]),
    st.one_of(st.text(), st.from_regex(r"[+0-9 ()-]{6,20}", fullmatch=True), st.from_regex(r"\S{1,5}@\S{1,5}", fullmatch=True)),
    st.sampled_from([None, *TRUNK_ZERO]),
)
def test_a_normal_form_is_its_own_normal_form(form: Form, value: str, region: str | None) -> None:
    once = normalise(form, value, region=region)
    if once is not None:
        assert normalise(form, once, region=region) == once
        once.encode()
