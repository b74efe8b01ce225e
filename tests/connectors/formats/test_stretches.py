"""Records read many at once are those that are read one by one, whatever the file holds and wherever a stretch ends."""

import io
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cdmd.connectors.formats.csvs import Csv, CsvReading, CsvSettings
from cdmd.connectors.formats.lines import BOM
from cdmd.connectors.formats.records import in_bytes
from cdmd.connectors.formats.stretches import Stretches
from cdmd.errors import FormatFault
from cdmd.kit.quantities import Size
from cdmd.models import Row

PIECES = st.sampled_from(
    [
        b"1",
        b"x",
        b"",
        b" ",
        b"\xc3\xa9",
        b"\xff",
        b'"',
        b'"a,b"',
        b'"a""b"',
        b'"a\nb"',
        b'a"b',
        b"\\",
        b'\\"',
        b"\0",
        b"\r",
        b"END",
        b"\v",
    ]
)
LINES = st.lists(st.tuples(st.lists(PIECES, min_size=1, max_size=4), st.sampled_from([b"\n", b"\n", b"\r\n"])), max_size=12)
DIALECTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "typed": {"numbers": ("b",), "trim": True},
    "trailer": {"trailer": "END"},
    "short": {"short_rows": True, "encoding": "latin-1"},
    "unquoted": {"quote": ""},
    "escaped": {"escape": "\\"},
    "tabs": {"delimiter": "\t"},
    "named": {"columns": ("a", "b")},
    "three": {"columns": ("a", "b", "c")},
    "one": {"columns": ("a",)},
    "small": {"max_record": Size.parse("6B")},
}


def made(reading: CsvReading, rows: Any) -> list[Any]:
    found: list[Any] = []
    try:
        found.extend(rows)
        reading.check_end()
    except FormatFault as fault:
        found.append(str(fault))
    return found


def one_by_one(csv: Csv, given: CsvSettings, text: bytes) -> tuple[list[Any], list[Any]]:
    """Its raw records, and its rows."""
    plain, encoding = in_bytes(io.BytesIO(text), csv._encoding)
    reading = CsvReading(plain, encoding, settings=given, columns=csv._columns)
    raw = list(reading.records)
    sound = ((place, one) for place, one in raw if one is None or not one.isspace())
    return raw, made(reading, (row for row in (reading.row(*record) for record in sound) if row is not None))


def at_once(csv: Csv, given: CsvSettings, text: bytes, size: int, *, examined: bool = False) -> list[Any]:
    plain, encoding = in_bytes(io.BytesIO(text), csv._encoding)
    lines = Stretches(plain, size=size)
    reading = CsvReading(lines, encoding, settings=given, columns=csv._columns)
    return made(reading, reading.rows(lines, csv._columns.judge if examined else csv._columns.value))


def unread(csv: Csv, given: CsvSettings, text: bytes, size: int) -> list[Any]:
    plain, encoding = in_bytes(io.BytesIO(text), csv._encoding)
    lines = Stretches(plain, size=size)
    reading = CsvReading(lines, encoding, settings=given, columns=csv._columns)
    return list(reading.unread(reading.records, lines))


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(max_examples=40, deadline=None)
@given(lines=LINES, size=st.sampled_from([1, 7, 20, 60, 1_000]))
@example(lines=[([b"1", b"x"], b"\n"), ([b'"a\nb"', b"x"], b"\n"), ([b"1", b"x"], b"\n")] * 3, size=20)
@example(lines=[([b'a"b', b'"'], b"\n"), ([b'"', b'a"b'], b"\n"), ([b"1", b"x", b"y"], b"\n")] * 2, size=1_000)
@example(lines=[([b'"', b'\\"'], b"\n"), ([b'x"', b"1"], b"\n"), ([b"1", b"x"], b"\n")] * 2, size=1_000)
@example(lines=[([b"1", b"x"], b"\n"), ([b'"a', b"x"], b"\n"), *[([b"1", b"x"], b"\n")] * 1_100], size=60)
@example(lines=[([b"1", b"x"], b"\n"), ([b"", b""], b"\n"), ([b" ", b"\v"], b"\n"), ([b"1", b"x"], b"\n")], size=1_000)
@example(lines=[([b"1", b"x"], b"\n"), ([b"END", b"1"], b"\n"), ([b"1", b"x"], b"\n")], size=1_000)
@example(lines=[([b"1", b"x"], b"\n"), *[([b"1"], b"\n"), ([b"", b""], b"\n")] * 30, ([b"1", b"x"], b"\n")], size=1_000)
def test_many_at_once_are_the_same_as_one_by_one(dialect: str, lines: list[tuple[list[bytes], bytes]], size: int) -> None:
    given = CsvSettings(**DIALECTS[dialect])
    sign = (given.delimiter or ",").encode()
    text = (b"" if given.encoding == "latin-1" else BOM) + b"".join(
        sign.join(parts) + end for parts, end in [([b"a", b"b"], b"\n"), *lines]
    )
    csv = Csv(given)
    raw, expected = one_by_one(csv, given, text)
    assert unread(csv, given, text, size) == raw
    assert at_once(csv, given, text, size) == expected
    judged = at_once(csv, given, text, size, examined=True)
    assert [_told(one) for one in judged] == [_told(one) for one in expected]


def _told(one: Any) -> Any:
    """A row without its value."""
    return (one.number, one.line, one.fault, one.raw) if isinstance(one, Row) else one


@settings(deadline=None)
@given(
    text=st.lists(st.sampled_from([b"a", b"\n", b"bb", b"\r\n"]), max_size=30), size=st.integers(1, 12), limit=st.integers(1, 9)
)
def test_lines_come_as_from_the_stream_itself(text: list[bytes], size: int, limit: int) -> None:
    whole = b"".join(text)
    stream, lines, found = io.BytesIO(whole), Stretches(io.BytesIO(whole), size=size), list[bytes]()
    while line := stream.readline(limit):
        shown = lines.stretch()
        assert shown == b"" or whole.startswith(b"".join(found) + shown)
        assert lines.readline(limit) == line
        found.append(line)
        assert (lines.passed, lines.number) == (len(b"".join(found)), b"".join(found).count(b"\n"))
    assert (lines.readline(limit), lines.stretch()) == (b"", b"")


def test_sound_records_of_a_large_file_are_read_at_once() -> None:
    text = b"a,b\n" + b"".join(b"%d,x\r\n" % n for n in range(20_000))
    reading = CsvReading(
        lines := Stretches(io.BytesIO(text)), "utf-8", settings=CsvSettings(), columns=Csv(CsvSettings())._columns
    )
    reading.row = None  # type: ignore[assignment,method-assign]
    next(reading.records)
    found = list(reading._at_once(reading._alone(lines.stretch()), 3, reading._columns.value))
    assert found[-1].line == found[-1].number + 2
    assert len(found) > 5_000


@pytest.mark.parametrize(("every", "most"), [(100, 200), (1, 8_000)], ids=["some", "all"])
def test_a_record_of_several_lines_takes_no_other_the_slow_way(every: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are many, all go that way before looking for others has cost more than that does."""
    slowly, looks = list[int](), list[Stretches]()
    kept, taken = CsvReading._kept, CsvReading._taken

    def met(self: CsvReading, place: int, raw: bytes | None) -> Row | None:
        slowly.append(place)
        return kept(self, place, raw)

    def looked(self: CsvReading, lines: Stretches) -> tuple[list[str], int]:
        looks.append(lines)
        return taken(self, lines)

    monkeypatch.setattr(CsvReading, "_kept", met)
    monkeypatch.setattr(CsvReading, "_taken", looked)
    rows = [b'%d,"x\ny"\n' % n if n % every == 0 else b"%d,x\n" % n for n in range(8_000)]
    found = list(Csv(CsvSettings()).rows(io.BytesIO(b"a,b\n" + b"".join(rows))))
    assert [one.value["a"] for one in found] == [str(n) for n in range(8_000)]  # type: ignore[index]
    assert len(slowly) <= most
    assert len(looks) < 400


@pytest.mark.parametrize("line", [",", "", "x", 'a"b'], ids=["no values", "blank", "short", "quote"])
def test_lines_that_are_no_sound_records_do_not_cost_the_square_of_their_number(line: str) -> None:
    looked_at = 0

    class Lines(list[str]):
        def __getitem__(self, which: Any) -> Any:
            nonlocal looked_at
            looked_at += len(range(len(self))[which]) if isinstance(which, slice) else 1
            return super().__getitem__(which)

    reading = CsvReading(io.BytesIO(b"a,b\n"), "utf-8", settings=CsvSettings(), columns=Csv(CsvSettings())._columns)
    number = 3_000
    rows = list(reading._at_once(Lines([line] * number), 2, reading._columns.value))
    assert len(rows) in {0, number}
    assert looked_at < 50 * number
