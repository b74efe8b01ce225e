import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.cli.loading import lift_bounds, load_all
from cdmd.connectors.formats.csvs import Csv, CsvSettings
from cdmd.errors import ConfigInvalid, FormatFault
from cdmd.kit.quantities import Size
from cdmd.models import Row


def rows(text: bytes, **settings: Any) -> list[Row]:
    return list(Csv(CsvSettings(**settings)).rows(io.BytesIO(text)))


def values(text: bytes, **settings: Any) -> list[Any]:
    found = rows(text, **settings)
    assert [row.fault for row in found] == [None] * len(found)
    return [row.value for row in found]


def faults(text: bytes, **settings: Any) -> list[tuple[int, str | None]]:
    return [(row.number, row.fault.code if row.fault else None) for row in rows(text, **settings)]


def refused(text: bytes, **settings: Any) -> str:
    with pytest.raises(FormatFault) as caught:
        rows(text, **settings)
    return f"{caught.value.code}: {caught.value}"


def test_records_are_known_by_their_columns_with_number_and_line() -> None:
    text = b'\xef\xbb\xbfname,note\r\nAnn,"two\r\nlines"\r\n\r\n , \r\n,\r\nBo,x\r\n'
    found = rows(text, trim=True)
    assert [(row.number, row.line, row.value) for row in found] == [
        (1, 2, {"name": "Ann", "note": "two\r\nlines"}),
        (2, 5, {"name": None, "note": None}),
        (3, 7, {"name": "Bo", "note": "x"}),
    ]


@pytest.mark.parametrize(
    ("dialect", "text"),
    [
        ({"delimiter": ";"}, b'a;b\n1;"x;""y"\n'),
        ({"delimiter": "\t"}, b'a\tb\n1\t"x;""y"\n'),
        ({"delimiter": "|", "quote": "'"}, b"a|b\n1|'x;\"y'\n"),
        ({"delimiter": "|", "quote": ""}, b'a|b\n1|x;"y\n'),
        ({"escape": "\\"}, b'a,b\n1,"x;\\"y"\n'),
        ({"delimiter": ";"}, b'sep=,\na;b\n1;"x;""y"\n'),
        ({}, b'sep=;\r\na;b\r\n1;"x;""y"\r\n'),
        ({"skip": 2}, b'A report\n\na,b\n1,"x;""y"\n'),
        ({"columns": ("a", "b")}, b'1,"x;""y"\n'),
        ({}, b'a,b\r1,"x;""y"\r'),
        ({}, b'a,b\n1,"x;""y"'),
        ({}, b'a,b,,\n1,"x;""y",,\n'),
    ],
)
def test_dialects(dialect: dict[str, Any], text: bytes) -> None:
    assert values(text, **dialect) == [{"a": "1", "b": 'x;"y'}]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32", "iso8859-15", "macroman"])
def test_encodings(encoding: str) -> None:
    assert values("Förnamn;Größe\nÅsa;12\n".encode(encoding), encoding=encoding, delimiter=";") == [
        {"Förnamn": "Åsa", "Größe": "12"}
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_goes_before_what_is_configured(encoding: str) -> None:
    assert values("namn\nÅsa\n".encode(encoding), encoding="latin-1") == [{"namn": "Åsa"}]


def test_an_export_of_a_german_spreadsheet() -> None:
    text = "sep=;\r\nKunden-Nr.;E-Mail;Straße;Umsatz;Seit\r\n0042;Jo@Example.com;Hauptstraße 1;1.234,50;31.12.2023\r\n"
    settings = {
        "encoding": "cp1252",
        "numbers": ("revenue",),
        "decimal": ",",
        "dates": {"since": "%d.%m.%Y"},
        "aliases": {"customer_no": ("kunden-nr.",), "email": ("e-mail", "e-post"), "revenue": ("Umsatz",), "since": ("seit",)},
    }
    assert values(text.encode("cp1252"), **settings) == [
        {
            "customer_no": "0042",
            "email": "Jo@Example.com",
            "Straße": "Hauptstraße 1",
            "revenue": 1234.5,
            "since": "2023-12-31",
        }
    ]


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("%Y-%m-%d", "1980-04-03", "1980-04-03"),
        ("%d %b %Y (100%%)", "3 Apr 1980 (100%)", "1980-04-03"),
        ("%Y-%m-%d %H:%M", "1980-04-03 00:00", "1980-04-03T00:00:00+00:00"),
        ("%Y-%m-%dT%H:%M:%S%z", "1980-04-03T10:00:00+0200", "1980-04-03T10:00:00+02:00"),
    ],
)
def test_a_date_stays_a_date_and_a_time_is_one(form: str, text: str, expected: str) -> None:
    assert values(f"a,b\n1,{text}\n".encode(), dates={"b": form}) == [{"a": "1", "b": expected}]


def test_columns_may_move_and_be_renamed() -> None:
    aliases = {"email": ("E-post", "mail")}
    assert values(b"no,E-POST\n1,a@b\n", aliases=aliases) == [{"no": "1", "email": "a@b"}]
    assert values(b" mail ,no\na@b,1\n", aliases=aliases) == [{"no": "1", "email": "a@b"}]


def test_one_record_that_cannot_be_read_is_set_aside_as_it_came_and_the_rest_goes_on() -> None:
    bad = [b"1", b"1,2,3", b'"a"b,2', b"\xff,2", b"\0,2", b'1,"2', b'"']
    for raw in bad:
        first, broken, last = rows(b"a,b\n1,2\n" + raw + b"\n3,4\n")
        assert broken.fault is not None
        assert (broken.number, broken.line, broken.value, broken.raw) == (2, 3, None, raw)
        assert (first.value, last.number, last.line, last.value) == ({"a": "1", "b": "2"}, 3, 4, {"a": "3", "b": "4"})


def test_a_quote_that_is_no_quote_takes_no_line_with_it() -> None:
    assert values(b'size,name\n5" pipe,a\n6",b\n') == [{"size": '5" pipe', "name": "a"}, {"size": '6"', "name": "b"}]


def test_a_quote_that_never_closes_costs_one_record() -> None:
    text = b'a,b\n1,2\n3,"open\n' + b"4,5\n" * 5_000
    found = faults(text)
    assert len(found) == 5_002
    assert [code for _, code in found if code] == ["bad_quotes"]


def test_a_quote_that_stays_open_at_the_end_does_not_go_on_with_itself() -> None:
    assert faults(b'a,b\n1,2\na,"') == [(1, None), (2, "bad_quotes")]


@pytest.mark.parametrize("text", [b'"' + b"x" * 3_000 + b'",1', b"x" * 3_000 + b",1", b'"' + b"x\n" * 1_500 + b'",1'])
def test_a_record_beyond_the_limit_is_set_aside_in_bounded_memory(text: bytes) -> None:
    found = rows(b"a,b\n1,2\n" + text + b"\n3,4\n", max_record=Size.parse("2KiB"))
    assert (found[0].value, found[-1].value) == ({"a": "1", "b": "2"}, {"a": "3", "b": "4"})
    assert all(row.fault for row in found[1:-1])


def test_a_field_of_megabytes_is_set_aside() -> None:
    assert faults(b"a\n" + b"x" * 2_000_000 + b"\n1\n") == [(1, "record_too_large"), (2, None)]


def test_short_rows_may_be_filled() -> None:
    assert values(b"a,b,c\n1\n", short_rows=True) == [{"a": "1", "b": None, "c": None}]
    assert faults(b"a,b,c\n1,2,3,4\n", short_rows=True) == [(1, "ragged_row")]


def test_what_stands_for_no_value_is_said() -> None:
    assert values(b"a,b,c\n,NULL,x\n", nulls=("NULL",)) == [{"a": "", "b": None, "c": "x"}]


@pytest.mark.parametrize(
    ("text", "decimal", "number"),
    [("1 234,5", ",", 1234.5), ("-12", ",", -12), ("1,234.50", ".", 1234.5), ("1'000", ".", 1000), ("1e3", ".", 1000.0)],
)
def test_numbers_as_they_are_written(text: str, decimal: str, number: float) -> None:
    (value,) = values(f"n;x\n{text};1\n".encode(), delimiter=";", numbers=("n",), decimal=decimal)
    assert value["n"] == number
    assert type(value["n"]) is type(number)


@pytest.mark.parametrize("text", ["twelve", "1.2.3.4x", "nan", "--", "1e", "\N{ARABIC-INDIC DIGIT ONE}"])
def test_what_is_no_number_or_date_is_a_fault_that_names_the_column(text: str) -> None:
    for settings in ({"numbers": ("n",)}, {"dates": {"n": "%Y-%m-%d"}}):
        (row,) = rows(f"n,x\n{text},1\n".encode(), **settings)
        assert row.fault is not None
        assert (row.fault.path, text in row.fault.message) == ("n", False)


def test_a_file_that_cannot_be_read_as_a_whole_says_why() -> None:
    assert refused(b"").startswith("empty: ")
    assert refused(b"a,b,a\n1,2,3\n") == "duplicate_columns: the header names 'a' twice; name the columns with `columns`"
    assert refused(b"a,b\n1,2\n", required=("email",)) == "missing_columns: the header lacks 'email'; it has 'a', 'b'"
    assert refused(b'"a,b\n').startswith("no_header: line 1")
    assert refused(b"\xe5,b\n1,2\n").startswith("no_header: line 1")


def test_a_file_with_a_header_only_has_no_records() -> None:
    assert rows(b"a,b\n") == []


def test_a_trailer_that_is_missing_or_counts_otherwise_is_a_cut_file() -> None:
    whole = b"a,b\n1,2\n3,4\nEND,2\n"
    assert values(whole, trailer="END") == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    for cut in range(5, len(whole) - 2):
        assert refused(whole[:cut], trailer="END").split(":")[0] in {"no_trailer", "wrong_count"}
    assert refused(b"a,b\n1,2\nEND,2\n", trailer="END").startswith("wrong_count: the trailer counts 2 records")
    assert refused(b"a,b\nEND,x\n", trailer="END").startswith("wrong_count")
    assert refused(b"a,b\nEND,0\n1,2\n", trailer="END").startswith("after_trailer")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"encoding": "latin-99"}, "unknown encoding"),
        ({"encoding": "hex"}, "no encoding of text"),
        ({"delimiter": ";;"}, "delimiter"),
        ({"quote": "''"}, "quotechar"),
        ({"decimal": "x"}, "neither . nor ,"),
        ({"aliases": {"a": ("x",), "b": ("X",)}}, "already a name of a"),
    ],
)
def test_settings_that_make_no_dialect_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigInvalid, match=problem):
        Csv(CsvSettings(**settings))


FIELD = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@given(st.lists(st.lists(FIELD, min_size=3, max_size=3), max_size=8), st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n"]))
def test_what_a_csv_writer_writes_is_read_back(table: list[list[str]], delimiter: str, end: str) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([["a", "b", "c"], *table])
    found = values(out.getvalue().encode(), delimiter=delimiter, nulls=())
    assert [list(value.values()) for value in found] == [texts for texts in table if any(texts)]
    assert found == [dict(zip("abc", texts, strict=True)) for texts in table if any(texts)]


@given(st.binary(max_size=300), st.integers(0, 3))
def test_no_bytes_make_it_fail_otherwise_than_with_a_fault(noise: bytes, dialect: int) -> None:
    settings = [CsvSettings(), CsvSettings(delimiter=";", escape="\\"), CsvSettings(quote=""), CsvSettings(encoding="cp1252")]
    try:
        found = list(Csv(settings[dialect]).rows(io.BytesIO(b"a,b\n" + noise)))
    except FormatFault:
        return
    assert [row.number for row in found] == list(range(1, len(found) + 1))


@pytest.fixture
def bound() -> Iterator[int]:
    """The library's own, of the whole process."""
    before = csv.field_size_limit(2**17)
    yield 2**17
    csv.field_size_limit(before)


def test_a_field_may_be_as_large_as_its_record_within_the_bound_of_the_process_which_no_reader_touches(bound: int) -> None:
    content = b"a,b\n1," + b"x" * 300_000 + b"\n"
    assert faults(content) == [(1, "bad_quotes")]
    assert csv.field_size_limit() == bound
    lift_bounds()
    (value,) = values(content)
    assert len(value["b"]) == 300_000


def test_commands_lift_the_bound_where_they_load_what_reads_files(bound: int, tmp_path: Path) -> None:
    (config := tmp_path / "cdmd.toml").write_text(f'[daemon]\nstate_dir = "{tmp_path}"\n')
    load_all(config)
    assert csv.field_size_limit() > bound


@pytest.mark.parametrize("count", ["9" * 5_000, "\u00b2", "1" + "0" * 30])
def test_a_trailer_with_no_number_that_counts_is_a_fault_of_the_file(count: str) -> None:
    assert refused(f"a,b\n1,2\nT,{count}\n".encode(), trailer="T").startswith("wrong_count")


def test_a_number_beyond_all_is_none() -> None:
    assert faults(b"a\n99999999999999999999\n-9223372036854775809\n18446744073709551615\n", numbers=("a",)) == [
        (1, "number_out_of_range"), (2, "number_out_of_range"), (3, None),
    ]  # fmt: skip
    assert faults(b"a\n1e999\n-1e999\n1e300\n", numbers=("a",)) == [(1, "not_a_number"), (2, "not_a_number"), (3, None)]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_file_that_leaves_it_open_which_byte_comes_first_is_refused(encoding: str) -> None:
    assert values("a,b\n1,2\n".encode(encoding), encoding=encoding) == [{"a": "1", "b": "2"}]
    said = refused("a,b\n1,2\n".encode(f"{encoding}-be"), encoding=encoding)
    assert said == f"no_byte_order: the file has no byte order mark: say {encoding}-le or {encoding}-be as its encoding"
    assert refused(b"", encoding=encoding).startswith("empty")


def test_half_of_a_surrogate_pair_is_a_fault_of_its_row_where_an_encoding_has_a_form_for_it() -> None:
    text = "name,no\nJörg,1\n".encode("utf-7") + b"+2AA-,2\n+2D3cqQ-,3\n"
    assert faults(text, encoding="utf-7") == [(1, None), (2, "invalid_text"), (3, None)]
    assert [row.value for row in rows(text, encoding="utf-7")][::2] == [
        {"name": "Jörg", "no": "1"},
        {"name": "\U0001f4a9", "no": "3"},
    ]
    assert refused(b"+2AA-,no\n1,2\n", encoding="utf-7").startswith("no_header")
