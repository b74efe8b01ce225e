"""Which identifiers of an event may join people."""

import base64
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.config.schema import IdentifierSettings, IdentitySettings
from cdmd.errors import ConfigInvalid
from cdmd.identity.identifiers import LONGEST, Kinds
from cdmd.kit.normalising import normalise
from cdmd.models import IdentifierState, ProfileState

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


@pytest.mark.parametrize("value", ["NaN", "N/A", "na", "nil", "Unknown", "guest", "True", "false", "[object Object]", "test"])
def test_what_programs_write_where_they_know_nobody_never_identifies(value: str) -> None:
    assert DEFAULT.usable({"user_id": value, "customer_no": value}) == []


@pytest.mark.parametrize(
    "value", ["test@test", "Test@Test.com", "test@test.co.uk", "noreply@shop.example", "no-reply@shop.example"]
)
def test_an_address_that_is_nobodys_never_identifies(value: str) -> None:
    assert DEFAULT.usable({"email": value}) == []


@pytest.mark.parametrize("value", ["test@testing.example", "norepl@shop.example", "tester@test.com"])
def test_an_address_that_only_looks_like_it_identifies(value: str) -> None:
    assert DEFAULT.usable({"email": value}) == [("email", value)]


@pytest.mark.parametrize("kind", ["email", "user_id"])
def test_an_id_of_ten_thousand_characters_never_identifies(kind: str) -> None:
    assert DEFAULT.usable({kind: "a" * 10_000 + "@example.com"}) == []


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


# ---- digests ---------------------------------------------------------------------------------------------------------

RAW = sha256(b"joe@example.com").digest()
HASHED = kinds(
    email=IdentifierSettings(priority=1),
    phone=IdentifierSettings(priority=2, region="SE"),
    email_sha256=IdentifierSettings(priority=3),
    tel=IdentifierSettings(priority=4, hashed="phone"),
    card_sha256=IdentifierSettings(priority=5),
    code_sha256=IdentifierSettings(priority=6, normalize="lower"),
)


@pytest.mark.parametrize(
    "text",
    [
        RAW.hex(),
        RAW.hex().upper(),
        f" {RAW.hex()}\n",
        base64.b64encode(RAW).decode(),
        base64.urlsafe_b64encode(RAW).decode().rstrip("="),
    ],
)
def test_a_digest_has_one_form_however_it_is_written(text: str) -> None:
    assert HASHED.usable({"email_sha256": text}) == [("email_sha256", RAW.hex())]


@pytest.mark.parametrize("text", ["joe@example.com", RAW.hex()[:-1], "0" * 64, "x" * 64, "A" * 42, "A" * 44, ""])
def test_what_is_no_digest_identifies_nobody(text: str) -> None:
    assert HASHED.usable({"email_sha256": text}) == []


def test_digests_do_not_count_as_identifiers_that_were_left_out() -> None:
    said = {"email": "Joe@Example.com", "phone": "null", "loyalty": "x", "email_sha256": RAW.hex()}
    assert HASHED.left_out(said, HASHED.forms(said)) == 1
    assert DEFAULT.left_out({"email": "joe@example.com"}, DEFAULT.forms({"email": "joe@example.com"})) == 0


def test_a_plain_value_also_stands_for_its_digests_and_they_rank_right_behind_it() -> None:
    pairs, derived = HASHED.forms({"email": " Joe@Example.com", "phone": "070-123 45 67", "email_sha256": "B" * 42 + "A"})
    digests = [("tel", sha256(text).hexdigest()) for text in (b"+46701234567", b"46701234567")]
    assert pairs == [
        ("email", "joe@example.com"),
        ("email_sha256", RAW.hex()),
        ("phone", "+46701234567"),
        *digests,
        ("email_sha256", "041" * 21 + "0"),
    ]
    assert derived == {("email_sha256", RAW.hex()), *digests}


def test_a_digest_that_arrived_beside_its_plain_value_is_not_derived() -> None:
    assert HASHED.forms({"email": "joe@example.com", "email_sha256": RAW.hex()}).derived == set()


def test_where_no_kind_is_of_digests_nothing_stands_for_anything_else() -> None:
    assert DEFAULT.forms({"email": "joe@example.com"}) == ([("email", "joe@example.com")], frozenset())


def test_a_kind_is_of_digests_by_its_name_unless_it_says_how_it_is_brought_to_one_form() -> None:
    assert HASHED.hashed == {"tel": "phone", "email_sha256": "email"}
    assert HASHED.usable({"card_sha256": RAW.hex().upper()}) == [("card_sha256", RAW.hex())], "of a kind that is not here"
    assert HASHED.usable({"code_sha256": "ABC"}) == [("code_sha256", "abc")]


@pytest.mark.parametrize("plain", ["nobody", "tel", "email_sha256"])
def test_digests_are_of_a_plain_kind_that_is_configured(plain: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        kinds(tel=IdentifierSettings(hashed=plain), email=IdentifierSettings(), email_sha256=IdentifierSettings(hashed="email"))
    assert list(caught.value.problems) == [f"identity.identifiers.tel.hashed: {plain!r} is no plain kind that is configured"]


def test_the_digests_that_a_profile_lacks_are_told_with_the_times_of_their_plain_values() -> None:
    known = [IdentifierState("email", "joe@example.com", 1, 2, "shop"), IdentifierState("card", "1", 1, 2, "shop")]
    state = ProfileState("p", 1, 2, known)
    assert HASHED.underived(state) == [IdentifierState("email_sha256", RAW.hex(), 1, 2, "shop", derived=True)]
    state.identifiers += HASHED.underived(state)
    assert HASHED.underived(state) == []


def test_why_a_value_identifies_nobody_is_said_without_the_value() -> None:
    kinds = Kinds(IdentitySettings())
    assert [kinds.unusable(kind, value) for kind, value in [
        ("nothing", "x"), ("email", "x" * 1001), ("email", "x"), ("user_id", " "), ("user_id", "null"),
    ]] == [
        "the kind is not configured",
        "it is longer than 1000 characters",
        "it cannot be read as one",
        "there is nothing in it",
        "its value is blocked",
    ]  # fmt: skip


def test_a_beginning_is_written_as_values_of_its_kind_are() -> None:
    kinds = Kinds(IdentitySettings())
    assert (kinds.beginning("email", " Joe@"), kinds.beginning("user_id", " U1")) == ("joe@", "U1")
