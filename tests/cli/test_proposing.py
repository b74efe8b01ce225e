"""``cdmd try FILE``: a configuration for a file that no connector knows, and its first events by it."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cdmd.cli.daemon_proposing import name_of, proposal
from cdmd.connectors.probing import Guess

EXPORT = (
    "Kundnr;Förnamn;E-post;Omsättning\r\n"
    + "".join(f"{number};Åsa;asa{number}@example.se;{number},50\r\n" for number in range(100, 130))
).encode("cp1252")


class Tried(NamedTuple):
    status: int
    events: list[dict[str, Any]]
    said: str

    @property
    def proposed(self) -> str:
        """What is to be pasted."""
        return self.said.partition("reading ")[0]


def tried(folder: Path, *arguments: str) -> Tried:
    command = [sys.executable, "-m", "cdmd", "try", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=folder)
    return Tried(done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr)


@pytest.fixture
def export(tmp_path: Path) -> Path:
    file = tmp_path / "kunder_2026-11-29.csv"
    file.write_bytes(EXPORT)
    return file


def test_what_is_proposed_can_be_pasted_and_brings_the_events_that_were_shown(tmp_path: Path, export: Path) -> None:
    first = tried(tmp_path, export.name, "--limit", "2")
    assert first.status == 0, first.said
    assert [event["identifiers"] for event in first.events] == [
        {"customer_no": "100", "email": "asa100@example.se"},
        {"customer_no": "101", "email": "asa101@example.se"},
    ]
    assert first.events[0]["traits"] == {"fornamn": "Åsa", "omsattning": 100.5}
    assert "# not sure: the encoding" in first.proposed
    config = tmp_path / "cdmd.toml"
    config.write_text(first.proposed)
    found = tomllib.loads(first.proposed)["connectors"]["kunder"]
    assert (found["path"], found["files"]) == (str(tmp_path), ["kunder_*.csv"])
    again = tried(tmp_path, "kunder", "--config", str(config), "--limit", "2")
    assert (again.status, again.events[0]["traits"]) == (0, first.events[0]["traits"])
    assert again.said.startswith("1 file matches (kunder_2026-11-29.csv)")


def test_a_file_needs_no_configuration_and_a_connector_goes_before_a_file_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "cdmd.toml").write_text("this is no TOML")
    (tmp_path / "plain.csv").write_text("id,name\n1,Joe\n")
    assert tried(tmp_path, "./plain.csv", "--config", "cdmd.toml").status == 0
    (tmp_path / "inbox").write_text("id,name\n1,Joe\n")
    (tmp_path / "cdmd.toml").write_text('[connectors.inbox]\ntype = "webhook"\nverify = "none"\n')
    assert "told by its sender" in tried(tmp_path, "inbox", "--config", "cdmd.toml").said
    (tmp_path / "other").write_text("id,name\n1,Joe\n")
    assert tried(tmp_path, "other", "--config", "cdmd.toml").events[0]["type"] == "other.received"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"\x00\x01\x02", "is no table, JSON, XML, spreadsheet or Parquet file"),
        (b"A letter, with commas.\nAnd a second line.\n", "is no table"),
        (b"\x1f\x8b damaged", "cannot be read: "),
    ],
)
def test_a_file_that_is_nothing_known_is_one_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "some.file").write_bytes(content)
    done = tried(tmp_path, "some.file")
    assert (done.status, done.events) == (1, [])
    assert sentence in done.said
    assert len(done.said.splitlines()) == 1


def test_a_connectors_format_that_does_not_fit_is_told_with_one_that_does(tmp_path: Path, export: Path) -> None:
    config = tmp_path / "cdmd.toml"
    config.write_text(
        f'[connectors.sup]\ntype = "folder"\npath = "{tmp_path}"\nfiles = ["kunder*"]\nformat = {{ type = "csv" }}\n'
    )
    done = tried(tmp_path, "sup", "--config", str(config))
    assert 'by its content the file would be read with: format = { type = "csv", delimiter = ";"' in done.said
    config.write_text(config.read_text().replace('"csv"', '"csv", delimiter = ";", encoding = "cp1252"'))
    assert "by its content" not in tried(tmp_path, "sup", "--config", str(config)).said


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Kunder 2026-11-29.csv.gz", "kunder"),
        ("20261129.csv", "files"),
        ("Öppna-ärenden.csv", "oppna_arenden"),
        (".csv", "files"),
    ],
)
def test_a_connector_is_named_after_its_files(file: str, name: str) -> None:
    assert name_of(Path(file)) == name


@pytest.mark.parametrize(("number", "said"), [("070-123 45 67", True), ("+46 70 123 45 67", False), ("46701234567", False)])
def test_numbers_without_a_country_code_need_their_region(number: str, *, said: bool) -> None:
    guess = Guess(type="jsonl", records=[{"Telefon": number}])
    assert ("region =" in proposal(Path("/in/a.jsonl"), guess, name="a")) is said


def test_every_name_of_a_column_and_of_a_file_can_be_proposed() -> None:
    names = ['a"b', "a b", "c\\d", "e'f\"", "{x}", "", "nested"]
    guess = Guess(type="jsonl", records=[dict.fromkeys(names, "1") | {"nested": {"x": 1}}])
    text = proposal(Path("/in/what's [new]? 2026.csv"), guess, name="x")
    found = tomllib.loads(text)["connectors"]["x"]
    assert found["event"]["traits"] == {
        "a_b": '{"a\\"b"}',
        "a_b_2": '{"a b"}',
        "c_d": '{"c\\\\d"}',
        "e_f": '{"e\'f\\""}',
        "x": '{"{x}"}',
    }
    assert found["files"] == ["what's ?new]? *.csv"]
    assert "identifiers" not in found["event"]
    assert '# identifiers = { email = "{column}" }' in text


def test_a_proposal_for_a_file_with_deceiving_columns_is_safe_on_a_terminal_and_names_them(tmp_path: Path) -> None:
    (tmp_path / "a\u009b2J.csv").write_text("kundnr;na\u009b2J\u202eme;e-post\n" + "1;x;a@b.example\n2;y;c@d.example\n" * 5)
    found = tried(tmp_path, "a\u009b2J.csv")
    assert found.status == 0
    assert not {"\u009b", "\u202e"} & set(found.said)
    (settings,) = tomllib.loads(found.proposed)["connectors"].values()
    assert list(settings["event"]["traits"].values()) == ['{"na\u009b2J\u202eme"}']


def test_a_column_whose_name_would_break_out_of_its_comment_is_proposed_and_read(tmp_path: Path) -> None:
    header = 'kundnr;"date\n[http]\nlisten = \x1b[2J";e-post\n'
    (tmp_path / "a.csv").write_text(header + "".join(f"{one};0{one}/0{one}/2024;a{one}@b.example\n" for one in range(1, 9)))
    found = tried(tmp_path, "a.csv")
    assert (found.status, found.events[0]["traits"]) == (0, {"date_http_listen_2j": "2024-01-01"})
    assert "cannot be told apart" in found.proposed
    assert list(tomllib.loads(found.proposed)) == ["connectors"]
    assert "\x1b" not in found.said
