import io
from typing import Any

import pytest

from cdmd.connectors.formats.fixed import Fixed, FixedColumn, FixedSettings
from cdmd.errors import ConfigInvalid, FormatFault
from cdmd.kit.quantities import Size
from cdmd.models import Row

COLUMNS = (
    FixedColumn(name="no", start=1, length=4),
    FixedColumn(name="name", start=5, length=6),
    FixedColumn(name="total", start=11, length=7),
)


def rows(text: bytes, **settings: Any) -> list[Row]:
    return list(Fixed(FixedSettings(columns=settings.pop("columns", COLUMNS), **settings)).rows(io.BytesIO(text)))


def test_columns_are_cut_at_their_places_and_trimmed() -> None:
    found = rows(b"0001Joe    12.50\r\n\r\n0002Ann      7\n", numbers=("total",))
    assert [(row.number, row.line, row.value) for row in found] == [
        (1, 1, {"no": "0001", "name": "Joe", "total": 12.5}),
        (2, 3, {"no": "0002", "name": "Ann", "total": 7}),
    ]


def test_places_are_counted_in_characters_or_in_bytes() -> None:
    by_characters, by_bytes = "0001Åsa   ...1.50\n".encode(), "0001Åsa  ...1.50\n".encode()
    for text, unit in ((by_characters, "characters"), (by_bytes, "bytes")):
        (row,) = rows(text, unit=unit)
        assert row.value is not None
        assert (row.value["name"], row.value["total"]) == ("Åsa", "...1.50")


def test_records_without_line_ends_have_their_length() -> None:
    text = b"HEADER.........1" + b"0001Joe    12.50" + b"0002Ann     7.00"
    found = rows(text, record_length=16, skip=1)
    assert [row.value and row.value["no"] for row in found] == ["0001", "0002"]
    assert rows(text + b"\r\n", record_length=16, skip=1) == found
    for cut in range(17, 31):
        with pytest.raises(FormatFault, match="the file is cut"):
            rows(text[:cut], record_length=16, skip=1)


def test_a_line_that_is_too_short_too_long_or_of_another_encoding_is_set_aside() -> None:
    found = rows(
        b"0001Joe\n" + b"x" * 3_000 + b"\n0002\xff\xff\xff\xff\xff\xff12.50\n0003Ann    12.50\n", max_record=Size.parse("1KiB")
    )
    assert [row.fault and row.fault.code for row in found] == ["short_line", "record_too_large", "not_decodable", None]
    assert (found[0].raw, found[2].line) == (b"0001Joe", 3)


def test_a_value_that_is_not_what_its_column_says_is_set_aside() -> None:
    (row,) = rows(b"0001Joe    twelve\n", numbers=("total",))
    assert row.fault is not None
    assert (row.fault.code, row.raw) == ("not_a_number", b"0001Joe    twelve")


def test_settings_that_contradict_themselves_are_refused() -> None:
    twice = (FixedColumn(name="no", start=1, length=4), FixedColumn(name="no", start=5, length=4))
    with pytest.raises(ConfigInvalid, match="twice"):
        rows(b"", columns=twice)
    with pytest.raises(ConfigInvalid, match="unknown encoding"):
        rows(b"", encoding="latin-99")


def test_a_trailer_counts_the_records_and_a_file_without_it_is_cut() -> None:
    lines = b"0001Joe    12.50\n0002Ann     7.00\n"
    assert len(rows(lines + b"T  00002 records\n", trailer="T")) == 2
    for text, code in (
        (lines, "no_trailer"),
        (lines[:17] + b"T2\n", "wrong_count"),
        (lines + b"T?\n", "wrong_count"),
        (lines + b"T" + b"9" * 5_000, "wrong_count"),
        (b"T2\n" + lines, "after_trailer"),
    ):
        with pytest.raises(FormatFault) as caught:
            rows(text, trailer="T")
        assert caught.value.code == code
    with pytest.raises(ConfigInvalid):
        rows(lines, trailer="\u20ac", encoding="latin-1")


def test_records_without_line_ends_may_have_a_trailer_too() -> None:
    assert len(rows(b"0001Joe    12.50T0001          0", record_length=16, trailer="T")) == 1


@pytest.mark.parametrize("unit", ["characters", "bytes"])
def test_half_of_a_surrogate_pair_is_a_fault_of_its_line_where_an_encoding_has_a_form_for_it(unit: str) -> None:
    columns = (FixedColumn(name="no", start=1, length=1), FixedColumn(name="name", start=2, length=6))
    found = rows(b"1Joe   \n2+2AA- \n", encoding="utf-7", unit=unit, columns=columns)
    assert [row.fault and row.fault.code for row in found] == [None, "invalid_text"]
