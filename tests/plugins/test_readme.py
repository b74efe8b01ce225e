"""plugins/README.md: what it shows is run for real, and its tables are the code's."""

import io
import json
import os
import re
import subprocess
import sys
import tomllib
import types
from pathlib import Path
from typing import Any

import pytest
from cogapp import Cog

import cdmd
import cdmd.hookspecs
from cdmd.config.library import Library
from cdmd.plugins import Plugins
from tests.deliveries.receiving import built, endpoint, quick, sending

ROOT = Path(cdmd.__file__).parents[1]
README = ROOT / "plugins" / "README.md"
PAGER = """
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest


class Takes(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()


@pytest.fixture
def pager():
    server = HTTPServer(("127.0.0.1", 0), Takes)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/page"
    server.shutdown()
    server.server_close()
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


def block(mark: str) -> str:
    """The only one in Python that holds this."""
    (found,) = [text for text in blocks("python") if mark in text]
    return found


def passing(folder: Path) -> str:
    """What pytest says of the tests in the folder, all of which pass."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_plugin_in_twenty_lines_has_no_more_and_its_tests_pass_for_real(tmp_path: Path) -> None:
    plugin, tests = block("async def loyalty"), block("import cdmd_loyalty")
    assert len(plugin.splitlines()) <= 20
    (tmp_path / "cdmd_loyalty.py").write_text(plugin)
    (tmp_path / "test_loyalty.py").write_text(tests)
    assert "3 passed" in passing(tmp_path)


def test_its_project_file_announces_the_plugin() -> None:
    project, _ = [tomllib.loads(text) for text in blocks("toml")]
    assert project["project"]["entry-points"]["cdmd"] == {"loyalty": "cdmd_loyalty"}
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["include"] == ["cdmd_loyalty.py"]


def test_its_entry_of_the_library_is_one(tmp_path: Path) -> None:
    (tmp_path / "till.toml").write_text(blocks("toml")[1])
    library = Library({"loyalty": tmp_path})
    entry = library.entry("loyalty/till")
    assert 'use = "loyalty/till"' in entry.snippet
    assert entry.kinds.keys() == entry.connector["event"]["identifiers"].keys()
    assert library.written_out("loyalty/till", called="x").startswith("[connectors.x]")


def test_the_connector_is_taken_in_and_its_test_passes_for_real(tmp_path: Path) -> None:
    module: Any = types.ModuleType("ticker")
    exec(compile(block("class Ticker"), "ticker.py", "exec"), module.__dict__)
    assert [row.state for row in Plugins.load([], {}, modules={"ticker": module}).rows()] == ["enabled"]
    (tmp_path / "cdmd_ticker.py").write_text(block("class Ticker"))
    (tmp_path / "test_ticker.py").write_text(block("import cdmd_ticker"))
    assert "1 passed" in passing(tmp_path)


def test_the_format_reads_a_file_and_its_keys_are_checked() -> None:
    module: Any = types.ModuleType("lines")
    exec(compile(block("class Lines"), "lines.py", "exec"), module.__dict__)
    form = Plugins.load([], {}, modules={"lines": module}).formats()["lines"]
    rows = list(form(form.Settings(comment=";")).rows(io.BytesIO(b"one\n; two\nthree\n")))
    assert [(row.number, row.value) for row in rows] == [(1, {"text": "one"}), (3, {"text": "three"})]


@pytest.mark.anyio
async def test_the_target_sends_what_waits_and_says_what_became_of_it(tmp_path: Path) -> None:
    module: Any = types.ModuleType("pager")
    exec(compile(block("class Pager"), "pager.py", "exec"), module.__dict__)
    pager = Plugins.load([], {}, modules={"pager": module}).target_types()["pager"]
    async with endpoint(500, 200) as one:
        settings = pager.Settings(url=one.url)
        async with sending(tmp_path, **built("crm", pager("crm", settings), quick(concurrency=1), settings)) as it:
            await it.put("crm", 3)
            await it.until(lambda total: total.delivered == 3)
            assert [len(json.loads(got.body)) for got in one.got] == [3, 3]


def test_a_target_is_tested_as_it_says(tmp_path: Path) -> None:
    (tmp_path / "cdmd_pager.py").write_text(block("class Pager"))
    (tmp_path / "test_pager.py").write_text(block("import cdmd_pager"))
    (tmp_path / "conftest.py").write_text(PAGER)
    assert "1 passed" in passing(tmp_path)


def test_its_tables_are_the_codes() -> None:
    cog = Cog()
    said = io.StringIO()
    cog.set_output(stdout=said, stderr=said)
    assert cog.main(["cog", "--check", str(README)]) == 0, said.getvalue()


def test_every_public_name_and_hook_is_described() -> None:
    rows = re.findall(r"^\| `(?:cdmd\.)?(\w+)(?:\([^)]*\))?` \| ([^|]+) \|$", README.read_text(), re.MULTILINE)
    described = {name for name, text in rows if len(text) > 10}
    assert {name for name in cdmd.__all__ if not name.startswith("_")} <= described
    assert {name for name in vars(cdmd.hookspecs) if name.startswith("cdmd_")} <= described
