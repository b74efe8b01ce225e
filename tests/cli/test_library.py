"""``cdmd library``: the list, a page on a terminal and in a pipe, and what to do about a name that is not there."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from cdmd.cli.daemon_commands import main
from cdmd.cli.library import names, page_document
from cdmd.config.library import Library


class Said(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def cdmd(capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def call(*arguments: str) -> Said:
        status = main(arguments)
        out, err = capfd.readouterr()
        return Said(status, out, err)

    return call


def brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> None:
    """A plugin ``mine`` that is installed in this process only, with these files in its library."""
    entries = tmp_path / "cdmd_mine" / "library"
    entries.mkdir(parents=True)
    (tmp_path / "cdmd_mine" / "__init__.py").write_text("")
    for name, text in files.items():
        (entries / name.replace("_", ".")).write_text(text)
    info = tmp_path / "cdmd_mine-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cdmd-mine\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[cdmd]\nmine = cdmd_mine\n")
    monkeypatch.syspath_prepend(str(tmp_path))


def test_the_library_is_a_table_and_a_document(cdmd: Callable[..., Said]) -> None:
    said = cdmd("library")
    assert said.status == 0
    assert said.out.splitlines()[0].split() == ["NAME", "KIND", "SUMMARY", "VERIFIED"]
    rows = json.loads(cdmd("library", "--json").out)
    assert [row["name"] for row in rows] == Library().names()
    assert all(row["name"] in said.out and row["summary"] in said.out for row in rows)


def test_a_page_in_a_pipe_is_plain_and_holds_what_to_paste(cdmd: Callable[..., Said]) -> None:
    said = cdmd("library", "show", "github")
    assert said.status == 0
    assert "\x1b" not in said.out
    document = json.loads(cdmd("library", "show", "github", "--json").out)
    for part in ("summary", "verified", "page", "snippet", "stands_for"):
        assert document[part] in said.out
    assert 'use = "github"' in document["snippet"]
    assert "# github_login = { priority = 5" in document["snippet"]
    assert document["stands_for"].startswith("[connectors.github]\n")
    assert document["connector"]["verify"] == "github"


def test_a_page_on_a_terminal_is_drawn() -> None:
    mine, its = pty.openpty()
    line = [sys.executable, "-m", "cdmd", "library", "show", "github"]
    with subprocess.Popen(line, stdout=its, env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}) as process:
        os.close(its)
        shown = b""
        while True:
            try:
                part = os.read(mine, 65536)
            except OSError:  # what a terminal says whose other end is closed
                break
            if not part:
                break
            shown += part
        os.close(mine)
        assert process.wait(60) == 0
    assert b"\x1b[" in shown
    assert b"## " not in shown
    assert b"X-GitHub-Delivery" in shown


def test_a_name_that_is_not_there_is_answered_with_the_nearest(cdmd: Callable[..., Said]) -> None:
    said = cdmd("library", "show", "gihub")
    assert (said.status, said.out) == (4, "")
    assert "there is no predefined connector or target 'gihub' (did you mean github" in said.err
    assert "(`cdmd library` lists them)" in cdmd("library", "show", "qqqq").err


def test_a_plugins_entry_has_its_plugins_name_and_a_broken_one_is_named(
    cdmd: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = 'title = "T"\nkind = "pull"\nsummary = "a\\u001bb"\nverified = "V"\nsnippet = "x = 1"\n[connector]\ntype = "t"\n'
    brought(tmp_path, monkeypatch, till_toml=good, till_md="## \x1b[31mred\n", broken_toml="[")
    said = cdmd("library")
    assert said.status == 0
    assert "mine/till" in said.out
    assert "a\\x1bb" in said.out
    assert "broken.toml: cannot be used" in said.err
    page = cdmd("library", "show", "mine/till")
    assert "\x1b" not in page.out
    assert "[connectors.till]" in page.out
    assert "join people" not in page.out
    broken = cdmd("library", "show", "mine/broken")
    assert broken.status == 1
    assert "broken.toml: cannot be used" in broken.err


def test_names_are_completed() -> None:
    context = click.Context(click.Command("show"))
    assert "github" in [item.value for item in names(context, click.Argument(["name"]), "gi")]
    assert names(context, click.Argument(["name"]), "nothing") == []


def test_every_page_can_be_composed() -> None:
    library = Library()
    for name in library.names():
        document = page_document(library, name)
        assert document["page"], name
        assert document["stands_for"].startswith(f"[{library.entry(name).room}.{name}]\n"), name
