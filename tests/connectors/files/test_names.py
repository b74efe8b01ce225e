import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.cli.terminal import clean
from cdmd.connectors.files.names import Patterns, fault_of, named, shown


@given(st.binary(max_size=300))
def test_every_name_is_shown_safely_and_read_back_exactly(name: bytes) -> None:
    text = shown(name)
    assert named(text) == name
    assert clean(text) == text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"kunder_\xe5.csv", r"kunder_\xe5.csv"),
        ("kunder_å.csv".encode(), "kunder_å.csv"),
        (b"a\nb\x1b[2Jc", r"a\x0ab\x1b[2Jc"),
        (b"a\\x41", r"a\\x41"),
        ("abc\u202efdp.csv".encode(), r"abc\xe2\x80\xaefdp.csv"),
    ],
)
def test_what_is_no_printable_text_is_written_out(name: bytes, text: str) -> None:
    assert shown(name) == text


@pytest.mark.parametrize("name", [b"", b".", b"..", b"../x", b"/etc/passwd", b"a/b", b"a\0b", b"x" * 5000])
def test_a_name_that_is_none_of_a_file_in_its_folder_is_known_as_such(name: bytes) -> None:
    assert fault_of(name) is not None


@pytest.mark.parametrize("name", [b"a", b"..a", b"-rf", b"a\nb", b"\xff\xfe", b"x" * 300])
def test_strange_names_are_names(name: bytes) -> None:
    assert fault_of(name) is None


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("customers_*.csv", b"customers_1.csv", True),
        ("customers_*.csv", b"customers_1.csv.gz", False),
        ("*.csv", b"2026/11/a.csv", True),
        ("2026/*.csv", b"2026/a.csv", True),
        ("2026/*.csv", b"2026/11/a.csv", False),
        ("2026/a?b.csv", b"2026/a/b.csv", False),
        ("**/in/*.csv", b"in/a.csv", True),
        ("**/in/*.csv", b"x/y/in/a.csv", True),
        ("kund_å.csv", "kund_å.csv".encode(), True),
        ("[ab].csv", b"b.csv", True),
        ("*", b"a\nb", True),
        (".*", b".hidden", True),
    ],
)
def test_globs(glob: str, path: bytes, *, matches: bool) -> None:
    assert Patterns([glob]).matches(path) is matches
