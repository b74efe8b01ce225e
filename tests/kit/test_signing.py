import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook as Signer

from cdmd.kit.presented import Presented, Unproved, by_name, finder, reader
from cdmd.kit.presets import presets
from cdmd.kit.schemes import At, Place, Scheme
from cdmd.kit.secret import Secret
from cdmd.kit.signing import Refused, Verified, Verifier

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
BODY = b'{"type":"order.paid","timestamp":"2026-11-23T09:59:59Z"}'
KEY = "whsec_" + base64.b64encode(b"k" * 32).decode()
OLD = "whsec_" + base64.b64encode(b"o" * 32).decode()


def secret(text: str | bytes) -> Secret:
    return Secret(text.encode() if isinstance(text, str) else text, reference="env:KEY")


def standard(key: str = KEY, body: bytes = BODY, at: datetime = NOW, ident: str = "msg_1") -> dict[str, str]:
    return {
        "webhook-id": ident,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Signer(key).sign(ident, at, body.decode()),
    }


def github(key: str = "s3cret", body: bytes = BODY) -> dict[str, str]:
    return {"x-hub-signature-256": "sha256=" + hmac.new(key.encode(), body, hashlib.sha256).hexdigest()}


def decide(scheme: str | dict, keys: list[str], headers, body: bytes = BODY, now: datetime = NOW, method: str = "POST"):
    words = presets()[scheme] if isinstance(scheme, str) else msgspec.convert(scheme, Scheme)
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    return Verifier(words, [secret(key) for key in keys]).verify(pairs, body, method=method, now=now)


def test_what_the_standard_library_signs_is_verified() -> None:
    assert decide("standard-webhooks", [KEY], standard()) == Verified(0)


def test_every_live_secret_is_tried_and_the_one_that_fits_is_named() -> None:
    assert decide("standard-webhooks", [OLD, KEY], standard()) == Verified(1)
    both = standard() | {
        "webhook-signature": standard(OLD)["webhook-signature"] + " v1a,AAAA " + standard()["webhook-signature"]
    }
    assert decide("standard-webhooks", [KEY], both) == Verified(0)
    assert decide("standard-webhooks", [KEY, OLD], both) == Verified(0)


def test_github_signs_with_the_secret_as_it_is() -> None:
    # The example in GitHub's documentation of webhook validation.
    headers = {"x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}
    assert decide("github", ["It's a Secret to Everybody"], headers, b"Hello, World!") == Verified(0)
    assert decide("github", ["another", "s3cret"], github()) == Verified(1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"webhook-signature": None}, "missing"),
        ({"webhook-id": None}, "missing"),
        ({"webhook-timestamp": None}, "missing"),
        ({"webhook-signature": ""}, "missing"),
        ({"webhook-signature": "v1,"}, "malformed"),
        ({"webhook-signature": "v1,%%%"}, "malformed"),
        ({"webhook-signature": "v1, " + standard()["webhook-signature"][3:] + "\n="}, "malformed"),
        ({"webhook-signature": standard()["webhook-signature"][:-1]}, "malformed"),
        ({"webhook-signature": standard()["webhook-signature"][:-4]}, "mismatch"),
        ({"webhook-signature": standard()["webhook-signature"].replace("v1,", "v0,")}, "malformed"),
        ({"webhook-signature": standard()["webhook-signature"].removeprefix("v1,")}, "malformed"),
        ({"webhook-signature": standard(OLD)["webhook-signature"]}, "mismatch"),
        ({"webhook-signature": " ".join(["v1,AAAA"] * 33)}, "malformed"),
        ({"webhook-signature": "v1,\u2603"}, "malformed"),
        ({"webhook-id": "msg_2"}, "mismatch"),
        ({"webhook-id": "\u2603"}, "malformed"),
        ({"webhook-timestamp": "soon"}, "malformed"),
        ({"webhook-timestamp": "1e9"}, "malformed"),
        ({"webhook-timestamp": "-5"}, "malformed"),
        ({"webhook-timestamp": "9" * 400}, "malformed"),
        ({"webhook-timestamp": "\u0661\u0662"}, "malformed"),
        ({"webhook-timestamp": str(int(NOW.timestamp()) + 1)}, "mismatch"),
    ],
    ids=str,
)
def test_a_changed_header_proves_nothing(change: dict[str, str | None], reason: str) -> None:
    headers = {name: value for name, value in (standard() | change).items() if value is not None}
    assert decide("standard-webhooks", [KEY], headers) == Refused(reason)


def test_a_changed_body_proves_nothing() -> None:
    assert decide("standard-webhooks", [KEY], standard(), BODY + b" ") == Refused("mismatch")
    assert decide("github", ["s3cret"], github(), BODY.replace(b":", b": ")) == Refused("mismatch")


@pytest.mark.parametrize("name", ["webhook-signature", "webhook-timestamp", "webhook-id"])
def test_a_header_given_twice_is_ambiguous_even_when_both_fit(name: str) -> None:
    headers = [*standard().items(), (name, standard()[name])]
    assert decide("standard-webhooks", [KEY], headers) == Refused("ambiguous")


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [
        (300, Verified(0)),
        (301, Refused("expired")),
        (-300, Verified(0)),
        (-301, Refused("future")),
        (86_400, Refused("expired")),
    ],
)
def test_the_time_of_signing_counts_both_ways(seconds: int, verdict: object) -> None:
    assert decide("standard-webhooks", [KEY], standard(at=NOW - timedelta(seconds=seconds))) == verdict


def test_the_algorithm_is_not_the_senders_to_choose() -> None:
    weak = {"x-hub-signature": "sha1=" + hmac.new(b"s3cret", BODY, hashlib.sha1).hexdigest()}
    assert decide("github", ["s3cret"], weak) == Refused("missing")
    moved = {"x-hub-signature-256": weak["x-hub-signature"]}
    assert decide("github", ["s3cret"], moved) == Refused("malformed")


@pytest.mark.parametrize("name", ["sha1", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
def test_a_table_in_the_same_words_verifies_other_vendors(name: str, encoding: str) -> None:
    stamp = str(int(NOW.timestamp()))
    digest = hmac.new(b"key", f"POST v0:{stamp}:tenant:".encode() + BODY, name)
    text = digest.hexdigest() if encoding == "hex" else base64.b64encode(digest.digest()).decode()
    scheme = {
        "algorithm": f"hmac-{name}",
        "signature": {"header": "X-Sign", "split": ",", "prefix": "v1=", "encoding": encoding},
        "timestamp": {"from": "signature", "prefix": "t="},
        "signed": "{method} v0:{timestamp}:{header:X-Tenant}:{body}",
        "key": {"strip": "k_", "encoding": "hex"},
    }
    headers = {"x-sign": f"t={stamp}, v1={'00' * 4},v1={text}", "x-tenant": "tenant"}
    assert decide(scheme, ["k_" + b"key".hex()], headers) == Verified(0)
    assert decide(scheme, ["k_" + b"key".hex()], headers, method="PUT") == Refused("mismatch")
    assert decide(scheme, ["k_" + b"key".hex()], headers | {"x-sign": f"t=1,t=2,v1={text}"}) == Refused("ambiguous")


@pytest.mark.parametrize(
    ("unit", "text", "verdict"),
    [
        ("ms", str(int(NOW.timestamp() * 1000)), Verified(0)),
        ("ms", str(int(NOW.timestamp())), Refused("expired")),
        ("iso8601", "2026-11-23T10:04:00Z", Verified(0)),
        ("iso8601", "2026-11-23T10:06:00Z", Refused("future")),
        ("iso8601", "2026-11-23T10:04:00", Refused("malformed")),
        ("iso8601", "today", Refused("malformed")),
        ("iso8601", "0001-01-01T00:00:00+23:00", Refused("malformed")),
    ],
)
def test_units_of_time(unit: str, text: str, verdict: object) -> None:
    scheme = {
        "algorithm": "hmac-sha256",
        "signature": {"header": "sign"},
        "timestamp": {"header": "time", "unit": unit},
        "signed": "{timestamp}{body}",
    }
    sign = hmac.new(b"key", text.encode() + BODY, "sha256").hexdigest()
    assert decide(scheme, ["key"], {"sign": sign, "time": text}) == verdict


def test_a_future_tolerance_of_its_own() -> None:
    scheme = msgspec.structs.replace(presets()["standard-webhooks"], tolerance_future=0)
    headers = list(standard(at=NOW + timedelta(seconds=5)).items())
    assert Verifier(scheme, [secret(KEY)]).verify(headers, BODY, method="POST", now=NOW) == Refused("future")


def test_a_timestamp_without_its_prefix_is_malformed() -> None:
    scheme = {
        "algorithm": "hmac-sha256",
        "signature": {"header": "sign"},
        "timestamp": {"header": "time", "prefix": "t="},
        "signed": "{timestamp}{body}",
    }
    assert decide(scheme, ["key"], {"sign": "00", "time": "5"}) == Refused("malformed")


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        ("Bearer t0ken", Verified(1)),
        ("bearer t0ken", Verified(1)),
        ("Bearer  t0ken", Verified(1)),
        ("Bearer t0keN", Refused("mismatch")),
        ("Bearer t0ken2", Refused("mismatch")),
        ("Bearer", Refused("malformed")),
        ("Bearer ", Refused("malformed")),
        ("Bearer \u2603", Refused("malformed")),
        ("Basic t0ken", Refused("malformed")),
        ("t0ken", Refused("malformed")),
    ],
)
def test_bearer_tokens(value: str, verdict: object) -> None:
    assert decide("bearer", ["older", "t0ken"], {"authorization": value}) == verdict


def test_bearer_without_or_with_two_tokens_is_refused() -> None:
    assert decide("bearer", ["t0ken"], {}) == Refused("missing")
    assert decide("bearer", ["t0ken"], [("authorization", "Bearer t0ken")] * 2) == Refused("ambiguous")


def test_basic_passwords() -> None:
    def of(text: bytes) -> dict[str, str]:
        return {"authorization": "Basic " + base64.b64encode(text).decode()}

    assert decide("basic", ["joe:pass:word"], of(b"joe:pass:word")) == Verified(0)
    assert decide("basic", ["joe:p\u00e5ss"], of("joe:p\u00e5ss".encode())) == Verified(0)
    assert decide("basic", ["joe:pass"], of(b"joe:")) == Refused("mismatch")
    assert decide("basic", ["joe:pass"], {"authorization": "Basic %%%"}) == Refused("malformed")


def test_none_takes_everything_and_no_secret() -> None:
    assert decide("none", [], {}) == Verified(None)
    with pytest.raises(ValueError, match="takes no secrets"):
        Verifier(presets()["none"], [secret("x")])


@pytest.mark.parametrize(
    ("preset", "value"),
    [("standard-webhooks", "whsec_%%%"), ("standard-webhooks", "whsec_"), ("github", ""), ("bearer", "")],
)
def test_a_secret_that_is_no_key_is_named_by_its_reference_only(preset: str, value: str) -> None:
    with pytest.raises(ValueError, match="env:KEY") as wrong:
        Verifier(presets()[preset], [secret(value)])
    assert not value or value not in str(wrong.value)


def test_a_scheme_that_signs_needs_a_secret() -> None:
    with pytest.raises(ValueError, match="secrets are needed"):
        Verifier(presets()["github"], [])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({}, "signature"),
        ({"signature": {"header": ""}}, "name one of"),
        ({"signature": {"header": "s", "split": ""}}, "empty"),
        ({"signature": {"header": "s"}, "signed": "{timestamp}"}, "must contain"),
        ({"signature": {"header": "s"}, "signed": "{body}{secrets}"}, "knows"),
        ({"signature": {"header": "s"}, "signed": "{timestamp}{body}"}, "go together"),
        ({"signature": {"header": "s"}, "timestamp": {"header": "t"}}, "go together"),
        ({"signature": {"header": "s"}, "timestamp": {}}, "name one of"),
        ({"signature": {"header": "s"}, "timestamp": {"header": "t", "from": "signature"}}, "no other place"),
        ({"signature": {"header": "s", "form": "s"}}, "name one of"),
        ({"signature": {"header": "s"}, "signed": "{form:a}"}, "payload"),
        ({"signature": {"header": "s"}, "signed": "{form:a}", "payload": {"form": "b"}}, "payload"),
        ({"signature": {"header": "s"}, "signed": "{header:d}", "body_hash": {"header": "e"}}, "header:e"),
        ({"signature": {"header": "s"}, "signed": "{method}", "body_hash": {"query": "e"}}, "url"),
        ({"signature": {"header": "s"}, "body_hash": {}}, "body_hash"),
        ({"algorithm": "sha256", "signature": {"header": "s"}}, "proves nothing"),
        ({"signature": {"header": "s"}, "algorithm_from": {"header": "a", "words": {"X": "none"}}}, "none"),
        ({"signature": {"header": "s"}, "algorithm_from": {"header": "", "words": {}}}, "empty"),
        ({"signature": {"header": "s"}, "tolerance": -1}, "negative"),
        ({"signature": {"cookie": "s"}}, "cookie"),
        ({"signature": {"header": "s"}, "event_id": {}}, "name a"),
        ({"signature": {"header": "s"}, "handshake": {}}, "handshake"),
        ({"algorithm": "basic", "signature": {"header": "s"}}, "takes no"),
        ({"algorithm": None}, "algorithm"),
        ({"algorithm": "bearer", "timestamp": {"header": "t"}}, "takes no"),
        ({"algorithm": "md5"}, "md5"),
    ],
)
def test_words_that_are_unknown_or_do_not_fit_are_mistakes(words: dict, sentence: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=sentence):
        msgspec.convert({"algorithm": "hmac-sha256", **words}, Scheme)


def test_places_find_text_and_numbers_in_the_body_before_the_headers() -> None:
    find = finder(Place(json="event.at", header="X-At|Y-At"))
    assert find({"x-at": "h"}, {"event": {"at": 5}}, None) == 5
    assert find({"x-at": "h"}, {"event": {"at": True}}, None) == "h"
    assert find({"x-at": "h"}, ["event"], None) == "h"
    assert find({"x-at": "", "y-at": "other"}, {}, None) == "other"
    assert find({"x-at": ""}, {}, None) is None
    assert finder(Place(header="x", prefix="github."))({"x": "push"}, None, None) == "github.push"


@pytest.mark.parametrize(
    ("path", "body", "found"),
    [
        ("*.t", b'[{"t": "x"}, 5, [], {}, {"t": [1]}, {"t": {"t": 1}}, {"t": true}, {"t": 7}]', ["x", "7"]),
        ("a.b", b'{"a": null}', []),
        ("a.b", b'{"a": [{"b": 1}]}', []),
        ("a.b", b"[1]", []),
        ("a.b", b"5", []),
        ("a.b", b' \n{"x": [1, {}], "a" : {"b" :\t"y"}, "z": 1}', ["y"]),
        ("a.1.b", b'{"a": [0, {"b": 1.5}]}', ["1.5"]),
        ("a.1.b", b'{"a": {"1": {"b": "z"}}}', ["z"]),
        ("a.*", b'{"a": ["x", "x", "y"]}', ["x", "y"]),
        ("a", b'\xef\xbb\xbf{"a": 12345678901234567890123}', ["12345678901234567890123"]),
    ],
)
def test_a_place_in_the_body_finds_what_fits_and_passes_over_the_rest(path: str, body: bytes, found: list[str]) -> None:
    assert reader(At(json=path))(Presented([], body, method="POST")) == found


@pytest.mark.parametrize("body", [b"", b"no JSON", b'{"a": {"b": 1}', b'{"a": {"b": 1}} x', b'{"a": {"b": "\xff"}}'])
def test_a_body_that_is_no_json_is_malformed(body: bytes) -> None:
    with pytest.raises(Unproved, match="malformed"):
        reader(At(json="a.b"))(Presented([], body, method="POST"))


def test_of_headers_with_one_name_the_first_that_says_something_counts() -> None:
    assert by_name([("x", "1"), ("y", "2")]) == {"x": "1", "y": "2"}
    assert by_name([("x", ""), ("x", "1"), ("x", "2"), ("y", ""), ("y", "")]) == {"x": "1", "y": ""}


def test_places_find_what_is_in_lists_and_forms() -> None:
    assert finder(Place(json="events.1.id"))({}, {"events": [{"id": 1}, {"id": 2}]}, None) == 2
    assert finder(Place(json="events.*.id"))({}, {"events": [{"no": 1}, {"id": 2}]}, None) == 2
    paths = ("0.0", "0.1", "0.x", "0.\u0661", "0.0.0", "9" * 40)
    assert [finder(Place(json=path))({}, [[1]], None) for path in paths] == [1, *[None] * 5]
    assert finder(Place(form="f", header="x"))({"x": "h"}, {}, {"f": "v"}) == "v"
    assert finder(Place(form="f", header="x"))({"x": "h"}, {}, {"f": ["v", "w"]}) == "h"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature", "authorization", "x-hub-signature-256"]),
            st.text(max_size=40) | st.sampled_from(list(standard().values())),
        ),
        max_size=6,
    ),
    st.sampled_from(["standard-webhooks", "github", "bearer", "basic"]),
)
def test_headers_of_any_kind_are_refused_without_an_exception(headers: list[tuple[str, str]], preset: str) -> None:
    assert isinstance(decide(preset, [OLD], headers), Refused)
