"""Spreadsheets and Parquet: typed values as JSON has them, and what is no such file said so."""

import errno
import importlib.util
import io
import resource
import subprocess
import sys
import zipfile
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from cdmd.connectors.files.spool import Spool
from cdmd.connectors.formats.apart import ASK, END, LENGTH, REFUSED, ROW
from cdmd.connectors.formats.columnar import Asked
from cdmd.connectors.formats.columnar import frames as frames_of_columns
from cdmd.connectors.formats.parquet import Parquet, ParquetSettings
from cdmd.connectors.formats.plain import plain
from cdmd.connectors.formats.reading import frame, frames
from cdmd.connectors.formats.xlsx import Xlsx, XlsxSettings
from cdmd.errors import ConfigInvalid, FormatFault, ReaderEnded, SourceUnavailable
from cdmd.kit.quantities import Size
from cdmd.models import Row

BOMB = Path(__file__).parent / "one_page_of_300_mb.parquet"
"""One text of 300 million letters: 10 kB."""

PARTS = {
    "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="xml" ContentType="application/xml"/>'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Override PartName="/xl/workbook.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/></Types>',
    "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
    'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/>'
    "</Relationships>",
    "xl/workbook.xml": '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets>'
    '<sheet name="Kunden" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" '
    'Target="worksheets/sheet1.xml"/><Relationship Id="rId2" '
    'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles" Target="styles.xml"/></Relationships>',
    "xl/styles.xml": '<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
    '<cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>',
}


BODY = '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>{rows}</sheetData></worksheet>'


def sheet(*lines: tuple[int, list[Any]], padding: int = 0) -> bytes:
    """A workbook as office programs write it: (row number, cells)."""
    rows = "".join(f'<row r="{number}">{"".join(map(_cell, cells))}</row>' for number, cells in lines)
    body = BODY.format(rows=rows)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (PARTS | {"xl/worksheets/sheet1.xml": body + " " * padding}).items():
            archive.writestr(name, content)
    return out.getvalue()


def _cell(value: Any) -> str:
    match value:
        case None:
            return "<c/>"
        case date():
            return f'<c s="1"><v>{(value - date(1899, 12, 30)).days}</v></c>'
        case bool():
            return f'<c t="b"><v>{int(value)}</v></c>'
        case int() | float():
            return f"<c><v>{value}</v></c>"
        case _:
            return f'<c t="inlineStr"><is><t>{value}</t></is></c>'


def xlsx(content: bytes, **settings: Any) -> list[Row]:
    pytest.importorskip("python_calamine")
    return list(Xlsx(XlsxSettings(**settings)).rows(io.BytesIO(content)))


def refused(content: bytes, **settings: Any) -> str:
    with pytest.raises(FormatFault) as caught:
        xlsx(content, **settings)
    return caught.value.code


CUSTOMERS = sheet(
    (1, ["Kunden-Nr.", "Name", "Umsatz", "Seit", "VIP"]),
    (2, [4711, "Jörg", 12.5, date(2023, 12, 31), True]),
    (4, [4712, None, None, None, False]),
)


def test_a_sheets_rows_are_records_with_typed_values() -> None:
    found = xlsx(CUSTOMERS, aliases={"no": ("kunden-nr.",)})
    assert [(row.number, row.line, row.value) for row in found] == [
        (1, 2, {"no": 4711, "Name": "Jörg", "Umsatz": 12.5, "Seit": "2023-12-31", "VIP": True}),
        (2, 4, {"no": 4712, "Name": None, "Umsatz": None, "Seit": None, "VIP": False}),
    ]


def test_the_header_may_stand_further_down() -> None:
    content = sheet((1, ["A report"]), (3, ["no", "name"]), (4, [1, "Joe"]))
    assert [(row.line, row.value) for row in xlsx(content, header=3)] == [(4, {"no": 1, "name": "Joe"})]


def test_a_sheet_is_chosen_by_its_name() -> None:
    assert len(xlsx(CUSTOMERS, sheet="Kunden")) == 2
    assert refused(CUSTOMERS, sheet="Orders") == "no_sheet"


def test_what_is_no_spreadsheet_is_refused() -> None:
    for content in (b"", b"no spreadsheet", CUSTOMERS[: len(CUSTOMERS) // 2], CUSTOMERS[:-10]):
        assert refused(content) == "not_a_spreadsheet"
    assert refused(sheet()) == "empty"
    assert refused(CUSTOMERS, required=("email",)) == "missing_columns"
    assert refused(CUSTOMERS, max_size=Size.parse("1KiB")) == "too_large"
    assert refused(sheet((1, ["no"]), padding=5_000_000)) == "bomb"


FAR = '<row r="1"><c r="A1"><v>1</v></c></row><row r="1000000"><c r="XFD1000000"><v>2</v></c></row>'


def workbook(rows: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (PARTS | {"xl/worksheets/sheet1.xml": BODY.format(rows=rows)}).items():
            archive.writestr(name, content)
    return out.getvalue()


def test_a_sheet_whose_cells_span_billions_ends_neither_the_daemon_nor_its_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refused(workbook(FAR)) == "unreadable"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "KiB"


def test_a_row_far_down_is_read_where_it_stands() -> None:
    (row,) = xlsx(workbook('<row r="1"><c r="A1"><v>1</v></c></row><row r="100000"><c r="A100000"><v>2</v></c></row>'))
    assert (row.number, row.line, row.value) == (1, 100_000, {"1": 2})


ERRORS = {
    "a newer one": '<c t="e"><v>#SPILL!</v></c>',
    "of a formula": """<c s='0' t='e' cm="1"><f t="array" ref="A3">_xlfn.FILTER(A1:A2,B1&gt;0)</f><v>#CALC!</v></c>""",
    "of a formula elsewhere": '<c r="A3" t="e">\n<f t="shared" si="0"/>\n<v>#FIELD!</v></c>',
    "that was ever there": '<c t="e"><v>#N/A</v></c>',
}


@pytest.mark.parametrize("cell", ERRORS.values(), ids=ERRORS)
def test_a_cell_with_an_error_is_empty_whatever_error_it_is_and_the_other_rows_are_read(cell: str) -> None:
    names = '<row r="1"><c t="inlineStr"><is><t>no</t></is></c><c t="inlineStr"><is><t>n</t></is></c></row>'
    rows = [f'<row r="{at}">{one}<c r="B{at}"><v>{at}</v></c></row>' for at, one in ((2, "<c><v>1</v></c>"), (3, cell))]
    assert [row.value for row in xlsx(workbook(names + "".join(rows)))] == [{"no": 1, "n": 2}, {"no": None, "n": 3}]


def test_a_cell_of_no_known_kind_is_a_fault_of_the_file_that_says_what_to_do() -> None:
    with pytest.raises(FormatFault, match=r"a cell of the sheet is of no known kind: .* save it anew or as CSV"):
        xlsx(workbook('<row r="1"><c t="zz"><v>1</v></c></row>'))


def test_a_reader_that_is_left_early_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("python_calamine")
    started = []

    class Started(subprocess.Popen[bytes]):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Started)
    rows = Xlsx(XlsxSettings()).rows(io.BytesIO(CUSTOMERS))
    assert next(rows).number == 1
    rows.close()  # type: ignore[attr-defined]
    assert [child.returncode is None for child in started] == [False]


def test_the_reader_writes_the_same_without_a_process() -> None:
    pytest.importorskip("python_calamine")
    decode = msgspec.msgpack.Decoder().decode
    found = [decode(frame[LENGTH.size :]) for frame in frames(CUSTOMERS, "Kunden")]
    assert [kind for kind, _ in found] == [ROW, ROW, ROW, END]
    assert found[1][1] == [2, [4711, "Jörg", 12.5, "2023-12-31", True]]
    ((kind, (code, _)),) = [decode(frame[LENGTH.size :]) for frame in frames(CUSTOMERS, "Orders")]
    assert (kind, code) == (REFUSED, "no_sheet")


def test_a_reader_that_cannot_be_started_is_no_fault_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(SourceUnavailable, match="cannot be started"):
        xlsx(CUSTOMERS)


def test_a_file_gets_no_more_memory_than_the_settings_say_whatever_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    class Started(subprocess.Popen[bytes]):
        def __init__(self, command: list[str], **named: Any) -> None:
            super().__init__(command, **named)
            given.append(int(command[3]))

    monkeypatch.setattr(subprocess, "Popen", Started)
    large = sheet(*[(row, list(range(row, row + 20))) for row in range(1, 2_000)], padding=2**20)
    assert len(xlsx(large)) == 1_998
    with pytest.raises(FormatFault, match=r"with 8MiB of memory in \d+ s: .* raise max_memory"):
        xlsx(large, max_memory=Size.parse("8MiB"))
    assert given == [2**30, 8 * 2**20]


FRAME = "import sys; sys.stdout.buffer.write({written}); sys.stdout.flush(); import os, signal; {end}"


@pytest.mark.parametrize(
    ("end", "raised"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", SourceUnavailable),
        ("os.kill(os.getpid(), signal.SIGTERM)", SourceUnavailable),
        ("os.abort()", FormatFault),
        ("os.kill(os.getpid(), signal.SIGXCPU)", FormatFault),
        ("raise MemoryError", FormatFault),
    ],
)
def test_how_a_reader_ends_tells_whether_it_is_the_files_fault(
    end: str, raised: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = subprocess.Popen

    def instead(command: list[str], **named: Any) -> "subprocess.Popen[bytes]":
        code = FRAME.format(written=LENGTH.pack(100) + b"\x92\x00", end=end)
        return started([command[0], "-I", "-c", code], **named)

    monkeypatch.setattr(subprocess, "Popen", instead)
    with pytest.raises(raised):
        xlsx(CUSTOMERS)


def test_a_reader_has_its_time_from_the_signal_that_says_so_and_is_the_first_to_go() -> None:
    code = (
        "import sys, resource; from cdmd.connectors.formats import reading; reading.bound(2**30); reading._end_after(7);"
        "print(resource.getrlimit(resource.RLIMIT_CPU), open('/proc/self/oom_score_adj').read().strip())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "(7, 12) 1000"


def test_a_cell_that_is_not_what_its_column_says_is_set_aside() -> None:
    (row,) = xlsx(sheet((1, ["no", "n"]), (2, [1, "twelve"])), numbers=("n",))
    assert row.fault is not None
    assert row.fault.code == "not_a_number"


def test_a_number_beyond_whole_ones_stays_as_it_is() -> None:
    (row,) = xlsx(sheet((1, ["no"]), (2, [1e20])))
    assert row.value == {"no": 1e20}
    assert isinstance(row.value["no"], float)


def parquet(content: bytes, **settings: Any) -> list[Row]:
    return list(Parquet(ParquetSettings(**settings)).rows(io.BytesIO(content)))


def written(table: dict[str, list[Any]]) -> bytes:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    out = io.BytesIO()
    parquet.write_table(arrow.table(table), out)
    return out.getvalue()


def test_a_parquet_files_rows_are_records() -> None:
    moment = datetime(2026, 11, 23, 10, tzinfo=UTC)
    content = written(
        {"no": list(range(2_500)), "since": [moment] * 2_500, "total": [Decimal("1.50")] * 2_500, "x": [None] * 2_500}
    )
    found = parquet(content)
    assert parquet(written({"day": [moment.date()], "at": [moment.replace(tzinfo=None)]}))[0].value == {
        "day": "2026-11-23",
        "at": "2026-11-23T10:00:00+00:00",
    }, "as a CSV file's dates come, too"
    assert len(found) == 2_500
    assert (found[-1].number, found[-1].value) == (
        2_500,
        {"no": 2_499, "since": "2026-11-23T10:00:00+00:00", "total": 1.5, "x": None},
    )
    assert parquet(content, columns=("no",))[0].value == {"no": 0}
    with pytest.raises(FormatFault, match="the file lacks nothing"):
        parquet(content, columns=("nothing",))


def test_a_parquet_file_is_read_out_of_a_sealed_spool(tmp_path: Path) -> None:
    content = written({"no": list(range(200_000)), "name": [f"Joe {number}" for number in range(200_000)]})

    async def spooled() -> Spool:
        spool = await Spool.create(tmp_path)
        await spool.write(content)
        return spool

    spool = anyio.run(spooled)
    found = list(Parquet(ParquetSettings()).rows(spool.reader()))
    spool.close()
    assert (len(found), found[-1].value) == (200_000, {"no": 199_999, "name": "Joe 199999"})


def test_a_bomb_of_parquet_is_a_fault_of_the_file_and_ends_neither_the_daemon_nor_its_memory() -> None:
    pytest.importorskip("pyarrow")
    bomb = BOMB.read_bytes()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FormatFault, match=r"cannot be read with 128MiB of memory.* or raise max_memory") as caught:
        parquet(bomb, max_memory=Size.parse("128MiB"))
    assert caught.value.code == "unreadable"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "KiB"


def test_a_row_that_is_too_long_is_set_aside() -> None:
    found = parquet(written({"no": [1, 2, 3], "text": ["x", "y" * 2_000, "z"]}), max_record=Size.parse("1KiB"))
    assert [(row.number, row.fault and row.fault.code) for row in found] == [(1, None), (2, "record_too_large"), (3, None)]


def test_trouble_with_what_a_parquet_file_is_read_from_is_no_fault_of_the_file() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "the disk does not answer")

    with pytest.raises(OSError, match="the disk does not answer"):
        list(Parquet(ParquetSettings()).rows(Failing(written({"no": [1]}))))


def test_a_reader_of_parquet_that_was_ended_from_outside_is_no_fault_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    started = subprocess.Popen

    def instead(command: list[str], **named: Any) -> "subprocess.Popen[bytes]":
        asked = frame(ASK, [0, 4])
        code = f"import sys, os; sys.stdout.buffer.write({asked}); sys.stdout.flush(); sys.stdin.buffer.read(8)"
        return started([command[0], "-I", "-c", f"{code}; os.kill(os.getpid(), 9)"], **named)

    monkeypatch.setattr(subprocess, "Popen", instead)
    with pytest.raises(ReaderEnded, match="reads Parquet files was ended from outside"):
        parquet(written({"no": [1]}))


def test_the_reader_of_parquet_asks_for_what_it_reads_and_writes_rows_in_frames_of_bounded_size() -> None:
    content = written({"no": [1, 2, 3], "text": ["x" * 600_000, "y" * 600_000, "z"]})
    decode = msgspec.msgpack.Decoder().decode
    answers, asked = io.BytesIO(), io.BytesIO()
    file = Asked(answers, asked, len(content))
    for place, size in ((0, 4), (len(content) - 8, 100)):
        answers.seek(0)
        answers.write(LENGTH.pack(len(piece := content[place : place + size])) + piece)
        answers.seek(0)
        file.seek(place)
        assert file.read(size) == piece
    assert file.read(1) == b""
    assert (file.seekable(), file.seek(-4, io.SEEK_END)) == (True, len(content) - 4)
    asked.seek(0)
    said = [decode(asked.read(LENGTH.unpack(asked.read(4))[0])) for _ in range(2)]
    assert said == [[ASK, [0, 4]], [ASK, [len(content) - 8, 8]]]
    found = [decode(each[LENGTH.size :]) for each in frames_of_columns(io.BytesIO(content), None, record=2**20)]
    assert [(kind, kind == ROW and len(rows)) for kind, rows in found] == [(ROW, 1), (ROW, 2), (END, False)]
    (*_, (kind, (code, _))) = [decode(each[LENGTH.size :]) for each in frames_of_columns(io.BytesIO(b"x"), None, record=1)]
    assert (kind, code) == (REFUSED, "not_parquet")


def test_what_is_no_parquet_file_is_refused() -> None:
    content = written({"no": list(range(1_000))})
    for cut in (b"", b"PAR1", b"no parquet file at all", content[:-4], content[: len(content) // 2]):
        with pytest.raises(FormatFault) as caught:
            parquet(cut)
        assert caught.value.code == "not_parquet"


def test_a_row_with_a_value_that_cannot_be_read_is_set_aside() -> None:
    arrow = pytest.importorskip("pyarrow")
    times = arrow.array([0, 2**62, 1_000_000], arrow.timestamp("us"))
    found = parquet(written({"no": [1, 2, 3], "at": times}))
    assert [(row.number, row.fault and row.fault.code) for row in found] == [(1, None), (2, "not_a_value"), (3, None)]
    assert found[2].value == {"no": 3, "at": "1970-01-01T00:00:01+00:00"}


def test_a_decimal_beyond_64_bits_is_a_whole_number_as_any_other() -> None:
    found = parquet(written({"no": [Decimal(10**20), Decimal(1)]}))
    assert [(row.value, row.fault and row.fault.code) for row in found] == [({"no": 10**20}, None), ({"no": 1}, None)]


def test_a_time_zone_that_does_not_exist_is_a_fault_of_the_file() -> None:
    arrow = pytest.importorskip("pyarrow")
    times = arrow.array([0], arrow.timestamp("us", "Europe/Stockxolm"))
    with pytest.raises(FormatFault, match="no Parquet file"):
        parquet(written({"at": times}))


@pytest.mark.parametrize(
    ("name", "form", "settings"), [("python_calamine", Xlsx, XlsxSettings()), ("pyarrow", Parquet, ParquetSettings())]
)
def test_a_format_whose_library_is_not_installed_says_how_to_get_it(
    name: str, form: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda asked: None if asked == name else there(asked))
    with pytest.raises(ConfigInvalid, match="pip install"):
        form(settings)


def test_values_are_as_json_has_them() -> None:
    given = [
        None, True, 1, 1.5, float("nan"), "x", date(2026, 1, 2), time(1, 2), timedelta(hours=1),
        Decimal("2.0"), Decimal("NaN"), b"\xff", {1: (date(2026, 1, 2),)}, 1j,
    ]  # fmt: skip
    assert [plain(one) for one in given] == [
        None, True, 1, 1.5, None, "x", "2026-01-02", "01:02:00", 3600.0, 2, None, "ff", {"1": ["2026-01-02"]}, "1j",
    ]  # fmt: skip
