from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.errors import TemplateFault, ValueRefused
from cdmd.kit.addresses import hosts_in
from cdmd.kit.urls import UrlTemplate, origin_of

URL = "https://api.survey.example/responses/{ResponseID}?of={survey.id}"


def test_values_stand_percent_encoded_in_their_places() -> None:
    url = UrlTemplate.parse(URL).render({"ResponseID": "R_1?#&ä b", "survey": {"id": 7}}, {})
    assert url == "https://api.survey.example/responses/R_1%3F%23%26%C3%A4%20b?of=7"


@pytest.mark.parametrize(
    "value",
    ["a/b", "..", "a..b", ".", "a\\b", "a\nb", "a\x00", "\x7f", "\x85", "", "x" * 257, True, [], {}, None, float("nan")],
)
def test_a_value_that_is_no_plain_name_is_refused_and_not_quoted(value: Any) -> None:
    with pytest.raises((ValueRefused, TemplateFault)) as refused:
        UrlTemplate.parse("https://h.example/{id}").render({"id": value}, {})
    assert not isinstance(value, str) or len(value) < 3 or value not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "{host}/x", "https://{host}/x", "https://h{x}.example/", "https://h.example:{port}/", "{scheme}://h/", "h.example/{id}",
        "https://u:p@h.example/{id}", "ftp://h.example/{id}", "https://h.example{path}", "https://h.example/{id}#{x}",
        "https://h.example", "https://h\\evil/{id}", "https://h.example/{",
    ],
)  # fmt: skip
def test_scheme_host_and_port_are_written_out(text: str) -> None:
    with pytest.raises(ValueError, match=r"must|closing"):
        UrlTemplate.parse(text)


@given(st.text(max_size=300))
def test_whatever_a_record_brings_the_request_stays_where_the_configuration_put_it(value: str) -> None:
    template = UrlTemplate.parse("https://api.example:8443/v1/people/{id}/notes?of={id}")
    try:
        url = template.render({"id": value}, {})
    except (ValueRefused, TemplateFault):
        return
    parts, sent = urlsplit(url), httpx.URL(url)
    assert origin_of(url) == template.origin == "https://api.example:8443"
    assert (sent.scheme, sent.host, sent.port, sent.fragment) == ("https", "api.example", 8443, "")
    assert parts.path.split("/")[:3] == ["", "v1", "people"]
    assert unquote(parts.path.split("/")[3]) == value
    assert len(parts.path.split("/")) == 5
    assert dict(sent.params) == {"of": value}


def test_a_url_that_becomes_too_long_is_refused() -> None:
    with pytest.raises(ValueRefused, match="too long"):
        UrlTemplate.parse("https://h.example/" + "{id}" * 20).render({"id": "ä" * 200}, {})


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://H.Example./x", "https://h.example:443"),
        ("http://127.0.0.1:8080?x", "http://127.0.0.1:8080"),
        ("https://[::1]/x", "https://[::1]:443"),
        ("https://h.example", "https://h.example:443"),
        ("https://h.example@evil.example/", None),
        ("https://h.example\\@evil.example/", None),
        ("//h.example/", None),
        ("/x", None),
    ],
)
def test_an_origin_is_told_with_its_port_or_not_at_all(url: str, origin: str | None) -> None:
    assert origin_of(url) == origin


@pytest.mark.parametrize("text", [URL, "https://api.survey.example/{a.b || 'x y'}/?q={to_string(\"E-post\")}"])
def test_the_guarded_client_knows_the_host_of_a_url_template(text: str) -> None:
    assert hosts_in({"fetch": {"url": text}}) == {("api.survey.example", 443)}
