"""Which identifiers of an event may join people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.config.schema import IdentifierSettings, IdentitySettings
from cdmd.errors import ConfigInvalid
from cdmd.identity.identifiers import LONGEST, Kinds
from cdmd.kit.normalising import normalise

DEFAULT = Kinds(IdentitySettings())


def kinds(**identifiers: IdentifierSettings) -> Kinds:
    return Kinds(IdentitySettings(identifiers=identifiers))


def test_the_strongest_comes_first_and_equals_by_name() -> None:
    configured = kinds(
        b=IdentifierSettings(priority=2),
        z=IdentifierSettings(priority=1),
        a=IdentifierSettings(priority=2),
        c=IdentifierSettings(),
    )
    assert configured.usable({"c": "3", "b": "2", "z": "9", "a": "1"}) == [("z", "9"), ("a", "1"), ("b", "2"), ("c", "3")]


def test_a_kind_that_is_not_configured_joins_nobody() -> None:
    assert DEFAULT.usable({"serial": "TV-1", "email": "joe@example.com"}) == [("email", "joe@example.com")]
    assert DEFAULT.normalise("serial", "TV-1") is None


def test_values_are_brought_to_one_form_by_their_kind() -> None:
    configured = kinds(
        email=IdentifierSettings(priority=1),
        phone=IdentifierSettings(priority=2, region="SE"),
        card=IdentifierSettings(priority=3),
        code=IdentifierSettings(priority=4, normalize="lower"),
        exact=IdentifierSettings(priority=5, normalize="none"),
    )
    found = configured.usable(
        {"email": " Joe@Example.COM", "phone": "070-123 45 67", "card": " A1 ", "code": "XyZ", "exact": " A1 "}
    )
    assert found == [
        ("email", "joe@example.com"),
        ("phone", "+46701234567"),
        ("card", "A1"),
        ("code", "xyz"),
        ("exact", " A1 "),
    ]


@pytest.mark.parametrize("value", ["", " ", "0", "000", "0-0", "-1", "null", "NULL", " None ", "undefined", "anonymous"])
def test_a_blocked_or_empty_value_never_identifies(value: str) -> None:
    assert DEFAULT.usable({"user_id": value, "anonymous_id": "a1"}) == [("anonymous_id", "a1")]
    assert DEFAULT.normalise("user_id", value) is None


@pytest.mark.parametrize("value", ["u0", "null1", "1", "-11", "nobody"])
def test_blocking_takes_the_whole_value_to_match(value: str) -> None:
    assert DEFAULT.usable({"user_id": value}) == [("user_id", value)]


def test_patterns_with_groups_and_back_references_keep_their_meaning() -> None:
    configured = kinds(code=IdentifierSettings(blocked=("x", r"(.)\1+", r"test\d", "a|b")))
    usable = [text for text in ("aaaa", "test1", "x", "a", "b", "ab", "test", "testx") if configured.usable({"code": text})]
    assert usable == ["ab", "test", "testx"]


def test_a_phone_is_blocked_as_it_came_and_in_its_form() -> None:
    configured = kinds(phone=IdentifierSettings(region="SE", blocked=(r"\+46700000000", r"070-999.*")))
    assert configured.usable({"phone": "0700000000"}) == []
    assert configured.usable({"phone": "070-9991122"}) == []
    assert configured.usable({"phone": "070-1234567"}) == [("phone", "+46701234567")]


def test_nothing_is_blocked_when_no_pattern_is_configured() -> None:
    assert kinds(code=IdentifierSettings(blocked=())).usable({"code": "null"}) == [("code", "null")]


def test_a_text_of_absurd_length_is_no_identifier() -> None:
    assert DEFAULT.usable({"user_id": "u" * LONGEST}) == [("user_id", "u" * LONGEST)]
    assert DEFAULT.usable({"user_id": "u" * (LONGEST + 1)}) == []


def test_a_pattern_that_is_no_regular_expression_is_a_mistake_of_the_configuration() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        kinds(code=IdentifierSettings(blocked=("(", "fine")))
    assert caught.value.problems[0].startswith("identity.identifiers.code.blocked: '(' is no regular expression: ")


@given(st.text(st.sampled_from("aAzZ09._%+-@ \t\néİK"), max_size=12).map(lambda text: f"x{text}@e.X{text[:2]}"))
def test_the_short_way_for_plain_addresses_leads_to_the_same_form(text: str) -> None:
    normalised = normalise("email", text)
    assert DEFAULT.usable({"email": text}) == ([] if normalised is None else [("email", normalised)])


@given(st.dictionaries(st.sampled_from(["user_id", "email", "phone", "other"]), st.text(max_size=30)))
def test_a_look_up_finds_what_an_event_was_filed_under(identifiers: dict[str, str]) -> None:
    usable = DEFAULT.usable(identifiers)
    assert usable == [
        pair for kind in ("user_id", "email", "phone") if (pair := DEFAULT.normalise(kind, identifiers.get(kind, "")))
    ]
    assert DEFAULT.usable(dict(usable)) == usable
