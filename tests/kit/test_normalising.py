import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.kit.normalising import Form, normalise


@pytest.mark.parametrize(
    ("form", "value", "normal"),
    [
        ("none", " Ab ", " Ab "), ("none", "", None), ("trim", " Ab\n", "Ab"), ("trim", "  ", None), ("lower", " ÅB ", "åb"),
        ("email", " Joe@Example.COM ", "joe@example.com"), ("email", "j.o.e+x@gmail.com", "j.o.e+x@gmail.com"),
        ("email", "a\u030asa@x.se", "\u00e5sa@x.se"), ("email", "joe", None), ("email", "@x", None), ("email", "joe@", None),
        ("email", "a@b@c", None), ("email", "a b@c", None), ("email", "", None),
    ],
)  # fmt: skip
def test_a_value_is_brought_to_its_form(form: Form, value: str, normal: str | None) -> None:
    assert normalise(form, value) == normal


@pytest.mark.parametrize("form", ["none", "trim", "lower", "email", "phone"])
@pytest.mark.parametrize("value", ["a\ud800@b", "a\0@b", "\0"])
def test_surrogates_and_nul_have_no_form(form: Form, value: str) -> None:
    assert normalise(form, value) is None


@given(
    st.sampled_from(["none", "trim", "lower", "email", "phone"]),
    st.one_of(st.text(), st.from_regex(r"[+0-9 ()-]{6,20}", fullmatch=True), st.from_regex(r"\S{1,5}@\S{1,5}", fullmatch=True)),
    st.sampled_from([None, "SE", "US", "IT", "BR", "JP"]),
)
def test_a_normal_form_is_its_own_normal_form(form: Form, value: str, region: str | None) -> None:
    once = normalise(form, value, region=region)
    if once is not None:
        assert normalise(form, once, region=region) == once
        once.encode()
