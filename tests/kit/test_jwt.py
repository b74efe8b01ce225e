"""Tokens beside a delivery: signed by the library that is made for them, verified by ours, and every way to forge one."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import jwt as pyjwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cdmd.kit.schemes import Scheme
from cdmd.kit.secret import Secret
from cdmd.kit.signing import Refused, Verified, Verifier

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
BODY = b'{"events":[],"nonce":"n-1","timestamp":1795428000}'
OURS, OTHERS = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
CLAIMS = {"iss": "https://idp.example/site-1/", "jti": "n-1", "iat": SECONDS, "exp": SECONDS + 60}
WORDS: dict[str, Any] = {
    "algorithm": "jwt-rs256",
    "signature": {"header": "x-token"},
    "key": {"encoding": "jwk"},
    "claims": {"iss": "https://idp.example/site-1/", "jti": "{json:nonce}"},
    "body_unsigned": True,
}


def jwk(key: rsa.RSAPrivateKey) -> str:
    return str(pyjwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))


def pem(key: rsa.RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def der(key: rsa.RSAPrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def verifier(keys: list[str], **words: Any) -> Verifier:
    scheme = msgspec.convert({**WORDS, **words}, Scheme)
    return Verifier(scheme, [Secret(key.encode(), reference="env:KEY") for key in keys])


def token(key: Any = OURS, algorithm: str = "RS256", headers: dict[str, Any] | None = None, **claims: Any) -> str:
    said = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    return pyjwt.encode(said, key, algorithm=algorithm, headers=headers)


def decide(text: str, keys: list[str] | None = None, *, now: datetime = NOW, body: bytes = BODY, **words: Any) -> object:
    return verifier(keys or [jwk(OURS)], **words).verify([("x-token", text)], body, method="POST", now=now)


def test_a_token_of_the_library_is_verified_by_the_key_that_fits() -> None:
    assert decide(token()) == Verified(0)
    assert decide(token(), [jwk(OTHERS), jwk(OURS)]) == Verified(1)
    assert decide(token(), [jwk(OTHERS)]) == Refused("mismatch")


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("pem", pem(OURS)),
        ("base64-der", der(OURS)),
        ("jwk", json.dumps({"keys": [{"kty": "EC"}, json.loads(jwk(OTHERS)), json.loads(jwk(OURS))]})),
        ("jwk", json.dumps({**json.loads(jwk(OURS)), "errorCode": 0, "kid": "k", "use": "sig"})),
    ],
)
def test_keys_come_in_every_form(encoding: str, text: str) -> None:
    assert decide(token(), [text], key={"encoding": encoding}) == Verified(0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (token(iss="https://idp.example/site-2/"), "mismatch"),
        (token(iss=None), "mismatch"),
        (token(jti="n-2"), "mismatch"),
        (token(jti=None), "mismatch"),
        (token(exp=None), "malformed"),
        (token(exp=SECONDS - 301), "expired"),
        (token(iat=SECONDS + 301), "future"),
        (token(nbf=SECONDS + 301), "future"),
        (token(OTHERS), "mismatch"),
        ("", "missing"),
        ("a.b", "malformed"),
        ("a.b.c", "malformed"),
        ("ä.b.c", "malformed"),
        (token()[:-1], "malformed"),
        (token()[:-8], "mismatch"),
        (f"{token()}=", "malformed"),
        (token(headers={"crit": ["exp"]}), "malformed"),
        (token(pad="x" * 20_000), "malformed"),
        ("W10.W10.AAAA", "malformed"),
        ("e30.e30.AAAA", "malformed"),
        (f"{base64.urlsafe_b64encode(b'{').decode().rstrip('=')}.e30.AAAA", "malformed"),
        (".".join([token().split(".")[0], token(jti="n-2").split(".")[1], token().split(".")[2]]), "mismatch"),
    ],
)
def test_a_token_that_proves_nothing(text: str, reason: str) -> None:
    assert decide(text) == Refused(reason)


def test_a_token_does_not_choose_how_it_is_verified() -> None:
    assert decide(pyjwt.encode(CLAIMS, None, algorithm="none")) == Refused("malformed")
    assert decide(pyjwt.encode(CLAIMS, pem(OURS).replace("-", "_"), algorithm="HS256")) == Refused("malformed")
    assert decide(token(algorithm="RS384")) == Refused("malformed")


def test_times_that_are_none_are_malformed() -> None:
    for odd in (True, [1], "soon"):
        assert decide(token(exp=odd)) == Refused("malformed")
        assert decide(token(nbf=odd)) == Refused("malformed")


def test_a_signature_is_good_as_long_as_its_window() -> None:
    assert decide(token(exp=SECONDS - 299)) == Verified(0)
    assert decide(token(exp=SECONDS - 1), tolerance=0) == Refused("expired")
    assert decide(token(iat=SECONDS + 299, nbf=SECONDS + 299)) == Verified(0)
    assert decide(token(iat=None)) == Verified(0)


def test_a_claim_may_be_a_number_or_one_of_a_list_and_is_tied_to_the_request() -> None:
    claims = {"iss": CLAIMS["iss"], "aud": "us", "iat": "{json:timestamp}"}
    assert decide(token(aud=["them", "us"]), claims=claims) == Verified(0)
    assert decide(token(aud=["them"]), claims=claims) == Refused("mismatch")
    assert decide(token(aud="us", iat=SECONDS - 1), claims=claims) == Refused("mismatch")
    assert decide(token(aud=[True, None, {}]), claims={"iss": CLAIMS["iss"], "aud": "True"}) == Refused("mismatch")
    verified = {"iss": CLAIMS["iss"], "email_verified": "true"}
    assert decide(token(email_verified=True), claims=verified) == Verified(0)
    assert decide(token(email_verified=False), claims=verified) == Refused("mismatch")
    assert decide(token(), body=b"{}") == Refused("missing")
    assert decide(token(), body=b"not json") == Refused("malformed")


def test_the_token_may_stand_behind_a_word() -> None:
    words = {"signature": {"header": "x-token", "prefix": "Bearer "}}
    assert decide(f"Bearer {token()}", **words) == Verified(0)
    assert decide(token(), **words) == Refused("malformed")


@pytest.mark.parametrize(
    ("words", "mistake"),
    [
        ({"claims": {"jti": "x"}}, "must name `iss`"),
        ({"claims": {"iss": "x", "aud": "", "email": ""}}, "write `aud` and `email`"),
        ({"claims": None}, "go together"),
        ({"algorithm": "hmac-sha256"}, "go together"),
        ({"body_unsigned": False}, "body_unsigned = true"),
        ({"signed": "{body}"}, "takes no `signed`"),
        ({"claims": {"iss": "{body}"}}, "not \\['body'\\]"),
    ],
)
def test_words_that_do_not_fit_a_token(words: dict[str, Any], mistake: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=mistake):
        msgspec.convert({**WORDS, **words}, Scheme)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("jwk", "nonsense"),
        ("jwk", "{}"),
        ("jwk", '{"kty":"RSA","n":"%","e":"AQAB"}'),
        ("jwk", '{"keys":[{"kty":"EC"}]}'),
        ("jwk", jwk(rsa.generate_private_key(public_exponent=65537, key_size=1024))),
        ("pem", "nonsense"),
        ("utf8", pem(OURS)),
    ],
)
def test_what_is_no_key_for_tokens_is_named_by_its_reference(encoding: str, text: str) -> None:
    with pytest.raises(ValueError, match="the secret env:KEY is no public key for jwt-rs256"):
        verifier([text], key={"encoding": encoding})
