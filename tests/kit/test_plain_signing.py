"""What is proved in the short way is proved in the long one, too, and what is not plain goes the long one."""

import hmac
from base64 import b64decode, b64encode
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.kit.presets import preset
from cdmd.kit.schemes import At, Scheme, SignatureAt, TimestampAt
from cdmd.kit.secret import Secret
from cdmd.kit.signing import Verified, Verifier
from tests.kit.test_presets import BASE, BODY, NOW, SENDERS, Sent

OTHER = Secret(b"whsec_c29tZXRoaW5nIGVsc2UgdGhhdCBpcyBsb25n", reference="env:OTHER")
PLAIN = {"github", "standard-webhooks", "slack"}
ODD = st.sampled_from(
    ["", " ", "v1,", "sha256=", "v0=", "v1,é", "sha256=zz", "²", "-5", "1" * 16, "1763892000 ", "msg é", "msg \u0141", "a,b c"]
)


def both(name: str, headers: dict[str, str], sent: Sent, *, now: Any = NOW, others: int = 0) -> tuple[Any, Any]:
    """The verdicts of the short way and of the long one."""
    _, key = SENDERS[name]
    verifier = Verifier(preset(name), [OTHER] * others + [Secret(key.encode(), reference="env:KEY")])
    pairs = [(header.lower(), value) for header, value in headers.items()]
    asked: dict[str, Any] = {"method": sent.method, "now": now, "target": sent.target, "base": BASE}
    return verifier.verify(pairs, sent.body, named=dict(pairs), **asked), verifier.verify(pairs, sent.body, **asked)


@pytest.mark.parametrize("name", SENDERS)
def test_every_preset_verifies_the_same_either_way(name: str) -> None:
    make, _ = SENDERS[name]
    sent = make(BODY, NOW)
    assert both(name, dict(sent.headers), sent) == (Verified(0), Verified(0))
    assert both(name, {}, sent)[0] == both(name, {}, sent)[1]


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_the_common_presets_go_the_short_way_with_any_live_secret(name: str) -> None:
    make, key = SENDERS[name]
    sent = make(BODY, NOW)
    named = {header.lower(): value for header, value in sent.headers.items()}
    verifier = Verifier(preset(name), [OTHER, Secret(key.encode(), reference="env:KEY")])
    assert verifier.plainly is not None
    assert verifier.plainly(named, sent.body, NOW.timestamp()) == 1
    assert verifier.plainly(named, sent.body + b" ", NOW.timestamp()) is None


@given(
    name=st.sampled_from(sorted(PLAIN)),
    place=st.integers(0, 5),
    odd=st.none() | ODD,
    appended=st.sampled_from(["", " ", "0", ",v1=x", " v1,AAAA"]),
    late=st.sampled_from([-301, -300, 0, 299, 300, 301, 1e6]),
    body=st.sampled_from([b"", b" "]),
)
def test_no_change_of_a_request_is_proved_the_short_way_alone(
    name: str, place: int, odd: str | None, appended: str, late: float, body: bytes
) -> None:
    make, _ = SENDERS[name]
    sent = make(BODY, NOW)
    headers = dict(sent.headers)
    changed = sorted(headers)[place % len(headers)]
    headers[changed] = headers[changed] + appended if odd is None else odd
    quick, slow = both(name, headers, sent._replace(body=sent.body + body), now=NOW + timedelta(seconds=late), others=1)
    assert quick == slow


def standard(*, ident: str = "msg_1", stamp: str = str(int(NOW.timestamp())), prefix: str = "v1,") -> int | None:
    """The short way's verdict about these words of Standard Webhooks, signed as they are."""
    verifier = Verifier(preset("standard-webhooks"), [OTHER])
    signed = b".".join((ident.encode(), stamp.encode(), BODY))
    signature = b64encode(hmac.digest(b64decode(OTHER.reveal().removeprefix(b"whsec_")), signed, "sha256")).decode()
    named = {"webhook-id": ident, "webhook-timestamp": stamp, "webhook-signature": f"{prefix}{signature}"}
    assert verifier.plainly is not None
    return verifier.plainly(named, BODY, NOW.timestamp())


def test_what_is_signed_in_other_words_than_the_schemes_is_not_proved() -> None:
    assert standard() == 0
    assert standard(ident="") is None
    assert standard(prefix="v9,") is None
    for stamp in ("", "\u00b2", "-1", "1.5", str(int(NOW.timestamp())) + "0", "0" * 6 + str(int(NOW.timestamp()))):
        assert standard(stamp=stamp) is None


@pytest.mark.parametrize(
    "words",
    [
        {"signature": SignatureAt(header="a|b")},
        {"signature": SignatureAt(form="a")},
        {"signature": SignatureAt(header="a", prefix="x|y")},
        {"timestamp": TimestampAt(header="t", unit="ms"), "signed": "{timestamp}{body}"},
        {"timestamp": TimestampAt(header="t", prefix="t="), "signed": "{timestamp}{body}"},
        {"timestamp": TimestampAt(header="t|u"), "signed": "{timestamp}{body}"},
        {"signed": "{url}{body}"},
        {"signed": "{secret}{body}"},
        {"signed": "{header:a|b}{body}"},
        {"signed": "{method}{body}"},
    ],
)
def test_what_is_not_plain_goes_the_long_way(words: dict[str, Any]) -> None:
    scheme = Scheme(**{"algorithm": "hmac-sha256", "signature": SignatureAt(header="a"), **words})
    assert Verifier(scheme, [OTHER]).plainly is None
    assert isinstance(scheme.signature, At)
