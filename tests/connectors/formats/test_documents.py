"""JSON and XML documents: records one by one, nothing expanded, a cut document never taken for a whole one."""

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.connectors.formats.jsons import Json, JsonSettings
from cdmd.connectors.formats.xmls import Xml, XmlSettings
from cdmd.errors import FormatFault
from cdmd.kit.quantities import Size
from cdmd.models import Row


class Slow(io.BytesIO):
    """Gives a few bytes at a time, whatever is asked for."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(3, size) if size and size > 0 else 3)

    def readinto(self, buffer: Any) -> int:
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def rows_of(form: Any, text: bytes) -> list[Row]:
    found = list(form.rows(io.BytesIO(text)))
    try:
        assert list(form.rows(Slow(text))) == found
    except FormatFault as fault:
        raise AssertionError(f"in small pieces it is {fault}") from fault
    return found


def json_rows(text: bytes, **settings: Any) -> list[Row]:
    return rows_of(Json(JsonSettings(**settings)), text)


def refused(form: Any, text: bytes) -> str:
    with pytest.raises(FormatFault) as caught:
        list(form.rows(io.BytesIO(text)))
    with pytest.raises(FormatFault) as again:
        list(form.rows(Slow(text)))
    assert again.value.code == caught.value.code
    return caught.value.code


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("", '[{"a": 1}, {"b": [2, {"c": "å"}]}]'),
        ("", '\ufeff \n[ {"a":1} ,\n{"b":[2,{"c":"å"}]} ]\n '),
        ("items", '{"total": 12, "items": [{"a": 1}, {"b": [2, {"c": "å"}]}], "next": null}'),
        ("data.items", '{"x": [1], "data": {"y": {}, "items": [{"a": 1}, {"b": [2, {"c": "å"}]}], "z": 1}, "w": {"v": 1}}'),
    ],
)
def test_the_objects_of_the_array_are_the_records(path: str, text: str) -> None:
    found = json_rows(text.encode(), records=path)
    assert [(row.number, row.value) for row in found] == [(1, {"a": 1}), (2, {"b": [2, {"c": "å"}]})]
    if "\ufeff" not in text:
        assert json_rows(text.encode("utf-16"), records=path) == found


def test_an_element_that_is_no_object_is_set_aside() -> None:
    found = json_rows(b'[1, {"a": 1}, null, "x", 12]')
    assert [(row.number, row.fault and row.fault.code) for row in found] == [
        (1, "not_an_object"), (2, None), (3, "not_an_object"), (4, "not_an_object"), (5, "not_an_object"),
    ]  # fmt: skip


def test_an_element_with_half_a_sign_is_set_aside_and_one_with_a_large_number_is_not() -> None:
    halves = b'{"a": "\\ud800"}, {"\\udc00": 1}, {"a": 99999999999999999999, "b": "\\ud800"}'
    found = json_rows(b"[" + halves + b', {"a": [99999999999999999999]}, {"a": "\\ud83d\\ude00"}]')
    assert [row.fault and row.fault.code for row in found] == [*["invalid_text"] * 3, None, None]
    assert found[3].value == {"a": [99999999999999999999]}


def test_an_element_that_is_nested_too_deep_is_set_aside() -> None:
    deep, wide = b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}", b'{"a": [' + b"{}," * 200 + b"{}]}"
    found = json_rows(b"[" + deep + b"," + wide + b"]")
    assert [(row.number, row.fault and row.fault.code) for row in found] == [(1, "too_deep"), (2, None)]


def test_a_json_document_that_is_cut_anywhere_is_refused() -> None:
    text = json.dumps({"n": 1, "data": {"items": [{"a": 1, "b": "x,]}"}, {"a": [1, 2]}], "end": True}}).encode()
    form = Json(JsonSettings(records="data.items"))
    for cut in range(len(text)):
        assert refused(form, text[:cut]) in {"truncated", "not_json", "no_records"}, cut


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "truncated"),
        (b'{"a": 1}', "no_records"),
        (b'[{"a": 1} {"a": 2}]', "not_json"),
        (b'[{"a": 1},]', "not_json"),
        (b'[{"a": 1}] x', "not_json"),
        (b"[{'a': 1}]", "not_json"),
        (b'[{"a": NaN}]', "not_json"),
        (b'[{"a": "\xff"}]', "not_decodable"),
        (b"[" * 100_000, "too_deep"),
        (b'[{"a":' * 50_000, "too_deep"),
        (b'[{"a": "' + b"x" * 5_000 + b'"}]', "record_too_large"),
    ],
)
def test_json_that_is_not_well_formed_is_refused(text: bytes, code: str) -> None:
    limit = Size.parse("1KiB" if code == "record_too_large" else "1MiB")
    assert refused(Json(JsonSettings(max_record=limit)), text) == code


def test_a_path_that_leads_nowhere_is_refused() -> None:
    for path in ("nothing", "data.nothing", "data.items.more"):
        assert refused(Json(JsonSettings(records=path)), b'{"data": {"items": []}}') == "no_records"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5), lambda some: st.lists(some, max_size=3)
)


@given(st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=3), max_size=5), st.booleans())
def test_what_is_written_as_json_is_read_back(records: list[dict[str, Any]], pretty: bool) -> None:
    text = json.dumps({"a": records, "records": records}, indent=2 if pretty else None).encode()
    assert [row.value for row in json_rows(text, records="records")] == records


# ---- XML -----------------------------------------------------------------------------------------------------------


def xml(**settings: Any) -> Xml:
    return Xml(XmlSettings(record="customer", **settings))


REGISTER = """<?xml version="1.0" encoding="utf-8"?>
<r:register xmlns:r="urn:x" date="2026-11-23">
  <customers>
    <customer id="1"><name>Åsa &amp; Bo</name><email type="home">a@x.se</email><tag>a</tag><tag>b</tag><empty/></customer>
    <customer id="2" r:vip="yes"><address><city>Lund</city></address><note><![CDATA[<b>]]></note></customer>
    <customer>text</customer><customer/>
  </customers>
</r:register>"""


def test_every_element_of_the_name_is_a_record() -> None:
    found = rows_of(xml(), REGISTER.encode())
    assert [(row.number, row.line, row.value) for row in found] == [
        (
            1,
            4,
            {"@id": "1", "name": "Åsa & Bo", "email": {"@type": "home", "#text": "a@x.se"}, "tag": ["a", "b"], "empty": None},
        ),
        (2, 5, {"@id": "2", "@vip": "yes", "address": {"city": "Lund"}, "note": "<b>"}),
        (3, 6, {"#text": "text"}),
        (4, 6, {}),
    ]


@pytest.mark.parametrize("encoding", ["iso-8859-1", "utf-16", "windows-1252"])
def test_the_encoding_is_the_declarations(encoding: str) -> None:
    text = REGISTER.replace("utf-8", encoding).encode(encoding)
    first = rows_of(xml(), text)[0]
    assert first.value is not None
    assert first.value["name"] == "Åsa & Bo"


def test_an_xml_document_that_is_cut_anywhere_is_refused() -> None:
    text = REGISTER.encode()
    for cut in range(len(text)):
        assert refused(xml(), text[:cut]) in {"truncated", "not_xml"}, cut


LAUGHS = "".join(f'<!ENTITY lol{n} "{f"&lol{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (f'<!DOCTYPE a [<!ENTITY lol0 "lol">{LAUGHS}]><a><customer>&lol9;</customer></a>', "doctype"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a><customer>&x;</customer></a>', "doctype"),
        ('<!DOCTYPE a SYSTEM "http://127.0.0.1/x.dtd"><a><customer/></a>', "doctype"),
        ("<a><customer>&unknown;</customer></a>", "not_xml"),
        ("<a><customer></b></a>", "not_xml"),
        ("<a/><a/>", "not_xml"),
        ("no xml", "not_xml"),
        ("", "truncated"),
        ('<?xml version="1.0" encoding="nonsense"?><a/>', "not_decodable"),
        ("<a>" * 100, "too_deep"),
        ("<customer>" * 100_000, "too_deep"),
    ],
)
def test_what_could_expand_or_is_not_well_formed_is_refused(text: str, code: str) -> None:
    assert refused(xml(), text.encode()) == code


def test_a_record_beyond_the_limit_is_set_aside() -> None:
    text = b"<a><customer><x>" + b"y" * 5_000 + b"</x></customer><customer><x>1</x></customer></a>"
    large, small = rows_of(xml(max_record=Size.parse("1KiB")), text)
    assert large.fault is not None
    assert (large.number, large.fault.code, small.number, small.value) == (1, "record_too_large", 2, {"x": "1"})


def test_an_encoding_that_is_configured_goes_before_the_declaration() -> None:
    text = '<?xml version="1.0" encoding="utf-8"?><a><customer><x>å</x></customer></a>'.encode("latin-1")
    assert rows_of(xml(encoding="iso-8859-1"), text)[0].value == {"x": "å"}
