import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.connectors.webhook_body import Undecodable, decode
from cdmd.models import Request
from tests.connectors.doubles import NOW

KINDS = ["application/json", "application/x-www-form-urlencoded", "", "text/plain", "application/json;charset=x", ";"]


def request(body: bytes, kind: str) -> Request:
    headers = [("content-type", kind)]
    return Request(method="POST", path="/", query="", headers=headers, body=body, peer="", received=NOW)


@given(
    st.binary(max_size=80) | st.text(alphabet='payload=&%f8{}[]":1\\ud', max_size=80).map(str.encode), st.sampled_from(KINDS)
)
def test_any_body_is_decoded_into_what_can_be_kept_or_refused_as_a_whole(body: bytes, kind: str) -> None:
    try:
        document = decode(request(body, kind))
    except Undecodable:
        return
    assert msgspec.msgpack.encode([document.value, document.form])


def test_the_refusal_quotes_nothing_of_the_body() -> None:
    for body, kind in ((b'{"joe@example.com"', KINDS[0]), (b"joe@example.com=%ff", KINDS[1]), (b"joe@example.com", KINDS[3])):
        with pytest.raises(Undecodable) as refused:
            decode(request(body, kind))
        assert "joe" not in refused.value.message
