"""What files that nobody described are taken for."""

import gzip
import io
import zipfile
from datetime import date
from typing import Any

import pytest

from cdmd.connectors.formats import Csv, Fixed
from cdmd.connectors.formats.csvs import CsvSettings
from cdmd.connectors.formats.fixed import FixedColumn, FixedSettings
from cdmd.connectors.probing import Guess, as_toml, otherwise, probe
from cdmd.contracts import ChosenFormat
from cdmd.errors import FormatFault
from tests.connectors.formats.test_typed import sheet


def probed(content: bytes | str, encoding: str = "utf-8") -> Guess:
    found = probe(io.BytesIO(content.encode(encoding) if isinstance(content, str) else content))
    assert found is not None
    return found


def lines(*rows: str, end: str = "\n") -> str:
    return "".join(row + end for row in rows)


def many(row: str, count: int = 30) -> list[str]:
    return [row.replace("#", str(number)) for number in range(10, 10 + count)]


SPREADSHEET = lines(
    "Kundnr;Förnamn;E-post;Omsättning;Registrerad;Kommentar",
    *many('10#;Åsa;asa#@example.se;1 #0,50;#.11.2026;"rad 1\nrad ""#"""', 18),
    end="\r\n",
)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8", "utf-16", "cp1252"])
def test_a_spreadsheets_export_is_read_as_it_was_written(encoding: str) -> None:
    found = probed(SPREADSHEET, encoding)
    expected: dict[str, Any] = {
        "delimiter": ";",
        "numbers": ["Omsättning"],
        "decimal": ",",
        "dates": {"Registrerad": "%d.%m.%Y"},
    }
    assert found.type == "csv"
    assert dict(found.settings) == expected | ({"encoding": "cp1252"} if encoding == "cp1252" else {})
    assert found.records[0]["Förnamn"] == "Åsa"
    assert found.records[0]["Kommentar"] == 'rad 1\nrad "10"'
    assert len(found.doubts) == (encoding == "cp1252")


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        (lines("id,name", *many("#,Joe")), {}),
        (lines("id\tname", *many("#\tJoe")), {"delimiter": "\t"}),
        (lines("id|name", *many("#|Joe")), {"delimiter": "|"}),
        (lines("id;amount", *many("#;2,5")), {"delimiter": ";", "numbers": ["amount"], "decimal": ","}),
        (lines("'id','name'", *many("'#','O''Hara, Joe'")), {"quote": "'"}),
        (lines("id\tsize", *many('#\t5" x 3"')), {"delimiter": "\t"}),
        (lines("id\tsize", *many('#\t"5" x 3"')), {"delimiter": "\t", "quote": ""}),
        (lines("Export of customers", "", "id;name", *many("#;Joe")), {"delimiter": ";", "skip": 2}),
        (lines("id;name", *many("#;Joe"), "TRAILER;30"), {"delimiter": ";", "trailer": "TRAILER"}),
        (
            lines("id;when", *many("#;NULL"), "9;2026-11-29"),
            {"delimiter": ";", "nulls": ["", "NULL"], "dates": {"when": "%Y-%m-%d"}},
        ),
        (lines("id,name,", *many("#,Joe,")), {}),
        (lines("e-mail", *many("u#@example.com")), {}),
        ("id;name\r1;Joe\r2;Ann\r", {"delimiter": ";"}),
    ],
)  # fmt: skip
def test_dialects(text: str, settings: dict[str, Any]) -> None:
    found = probed(text)
    assert (found.type, dict(found.settings), list(found.doubts)) == ("csv", settings, [])


@pytest.mark.parametrize(
    ("text", "settings", "doubt"),
    [
        (lines(*many("#,u#@example.com")), {"columns": ["column_1", "column_2"]}, "no header"),
        (lines(*many("u#@example.com")), {"columns": ["value"]}, None),
        (lines("id,name,name", *many("#,Joe,Doe")), {"columns": ["id", "name", "name_2"], "skip": 1}, "names a column twice"),
        (lines("id,,name", *many("#,x,Doe")), {"columns": ["id", "column_2", "name"], "skip": 1}, "not at all"),
        (lines("id,name,city", *many("#,Joe,Lund"), "the end,x"), {}, "the last line has fewer fields"),
        (lines("id,on", *many("#,01/02/2026")), {"dates": {"on": "%d/%m/%Y"}}, "day and month of on cannot be told apart"),
    ],
)
def test_what_is_not_sure_is_said(text: str, settings: dict[str, Any], doubt: str | None) -> None:
    found = probed(text)
    assert dict(found.settings) == settings
    assert [doubt in one for one in found.doubts] == [True] if doubt else not found.doubts


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("cp1252", "Zoë Müller €"), ("cp850", "Åke Öberg på söder"), ("mac_roman", "Åsa på öarna")],
)
def test_old_encodings_are_told_by_how_their_letters_look(encoding: str, text: str) -> None:
    found = probed(lines("id,name", *many(f"#,{text}")), encoding)
    assert (found.settings["encoding"], found.records[0]["name"]) == (encoding, text)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_wide_encodings_without_a_mark_are_seen(encoding: str) -> None:
    found = probed(lines("id,name", *many("#,Åsa")), encoding)
    assert (found.settings["encoding"], found.records[0]["name"]) == (encoding, "Åsa")


def test_a_head_that_ends_within_a_character_is_utf8_all_the_same() -> None:
    found = probed(
        lines("id,name", *("1" + "x" * place + ",ååååå" for place in range(3))) + lines(*many("#,å" + "å" * 999, 600))
    )
    assert "encoding" not in found.settings


def test_columns_below_each_other_have_their_places() -> None:
    found = probed(lines("ID    NAME      CITY ", *many("000# Name#    Malmö")))
    assert (found.type, found.settings["skip"]) == ("fixed", 1)
    assert [(one["name"], one["start"], one["length"]) for one in found.settings["columns"]] == [
        ("ID", 1, 6), ("NAME", 7, 10), ("CITY", 17, 5),
    ]  # fmt: skip
    assert found.records[0] == {"ID": "00010", "NAME": "Name10", "CITY": "Malmö"}
    headless = probed(lines(*many("000# Name#   Lund")))
    assert [one["name"] for one in headless.settings["columns"]] == ["column_1", "column_2", "column_3"]
    assert "skip" not in headless.settings


@pytest.mark.parametrize(
    ("text", "kind", "settings"),
    [
        ('{"email": "a"}\n{"email": "b"}\n', "jsonl", {}),
        ('{"email": "a"}\n', "jsonl", {}),
        ('[{"email": "a"}, {"email": "b"}]', "json", {}),
        ('{"n": [1], "o": {"x": "y"}, "data": {"items": [{"email": "a"}]}}', "json", {"records": "data.items"}),
        ('{\n "data": [\n  {"email": "a"}\n ]\n}\n', "json", {"records": "data"}),
        (
            '<x xmlns="u"><head><n>1</n></head><row><email>a</email></row><row><email>b</email></row></x>',
            "xml",
            {"record": "row"},
        ),
        ("<x><row><email>a</email></row></x>", "xml", {"record": "row"}),
    ],
)
def test_documents(text: str, kind: str, settings: dict[str, Any]) -> None:
    found = probed(text)
    assert (found.type, dict(found.settings)) == (kind, settings)
    assert found.columns == ["email"]


def test_spreadsheets_and_parquet_are_known_by_their_first_bytes() -> None:
    pytest.importorskip("python_calamine")
    found = probed(sheet((1, ["no", "since"]), (2, [4711, date(2023, 12, 31)])))
    assert (found.type, list(found.records)) == ("xlsx", [{"no": 4711, "since": "2023-12-31"}])
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    file = io.BytesIO()
    parquet.write_table(arrow.table({"no": [1]}), file)
    assert (probed(file.getvalue()).type, probed(b"PAR1 and no more").records) == ("parquet", ())


def zipped(*contents: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number, content in enumerate(contents):
            archive.writestr(f"[{number}].csv", content)
    return file.getvalue()


def test_packed_files_are_looked_into() -> None:
    text = lines("id;name", *many("#;Joe"))
    assert probed(gzip.compress(text.encode())).settings == {"delimiter": ";"}
    found = probed(zipped(text, "other"))
    assert (found.settings, list(found.doubts)) == (
        {"delimiter": ";"},
        ["it holds 2 files: the first was looked at, all are read"],
    )
    with pytest.raises(FormatFault):
        probe(io.BytesIO(b"-----BEGIN PGP MESSAGE-----\n"))


@pytest.mark.parametrize("content", [b"", b" \n", bytes(range(256)) * 10])
def test_what_is_nothing_known_is_said_to_be_nothing(content: bytes) -> None:
    assert probe(io.BytesIO(content)) is None


@pytest.mark.parametrize(
    "text", ["{", '{"a": 1}x', "[1, 2]", '{"a": nonsense', '<!DOCTYPE x [<!ENTITY a "b">]><x/>', "<", '{"a":' * 50]
)
def test_what_only_begins_like_a_document_is_looked_at_as_text(text: str) -> None:
    found = probe(io.BytesIO(text.encode()))
    assert found is not None
    assert not found.records or found.type in {"csv", "jsonl"}


def test_large_files_are_told_by_their_beginning() -> None:
    text = lines("id;name", *many("#;Joe" + "x" * 100, 15_000))
    found = probed(text)
    assert (found.settings, len(found.records)) == ({"delimiter": ";"}, 500)


TEXT = lines("id;name;on", *many("#;Åsa;2026-11-29"))


@pytest.mark.parametrize(
    ("settings", "content", "other"),
    [
        ({"delimiter": ";", "dates": {"on": "%Y-%m-%d"}}, TEXT.encode(), None),
        ({}, TEXT.encode(), "delimiter"),
        ({"delimiter": ";", "encoding": "latin-1"}, TEXT.encode(), "delimiter"),
        ({"delimiter": ";"}, TEXT.encode("latin-1"), "encoding"),
        ({"delimiter": ";"}, b'{"a": "b"}\n', "jsonl"),
        ({"delimiter": ";"}, b"", None),
        ({"delimiter": ";"}, b"\x1f\x8b damaged", None),
        ({"required": ("email",)}, TEXT.encode(), "delimiter"),
    ],
)
def test_a_format_that_reads_something_else_is_told_apart(settings: dict[str, Any], content: bytes, other: str | None) -> None:
    found = otherwise(ChosenFormat(Csv, CsvSettings(**settings)), io.BytesIO(content))
    assert (found is None) == (other is None)
    assert other is None or (found is not None and other in found.line)


def test_a_guess_is_a_line_to_paste() -> None:
    settings = {"delimiter": "\t", "columns": ['a"b', "c'd\"", "\\"], "E-post": {}, "skip": 2, "x": True}
    assert Guess(type="csv", settings=settings).line == (
        'format = { type = "csv", delimiter = "\\t", columns = [\'a"b\', "c\'d\\"", \'\\\'], E-post = {}, skip = 2, x = true }'
    )
    assert as_toml({"å": "\x7f"}) == '{ "å" = "\\u007f" }'


def test_fixed_columns_that_are_proposed_are_settings() -> None:
    rows = ("01 Joe", "02 Ann", "03 Bob")
    found = probed(lines(*rows))
    columns = tuple(FixedColumn(**one) for one in found.settings["columns"])
    read = list(Fixed(FixedSettings(columns=columns)).rows(io.BytesIO(lines(*rows).encode())))
    assert [row.value for row in read] == list(found.records)
