"""No secret and no personal data where it does not belong, and nobody else may open what the daemon keeps."""

import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cdmd.testing import DaemonProcess
from tests.acceptance import probe_plugin

PERSON = "canary.person@example.com"
CANARIES = (PERSON, "canary", "CANARY")
TOKEN = "CANARY-bearer-0123456789"
CONFIG = """
[daemon]
state_dir = "{folder}/state"
log_level = "debug"
[connectors.shop]
type = "webhook"
verify = "bearer"
secrets = ["file:shop.token"]
[connectors.shop.event]
id = "{{id}}"
type = "order.{{status}}"
time = "{{at}}"
identifiers = {{ email = "{{email}}" }}
traits = {{ name = "{{name}}" }}
[connectors.door]
type = "bell"
token = "file:shop.token"
[plugins.probe]
stamp = "file:shop.token"
literal_token = "CANARY-literal"
url = "https://user:CANARY-password@127.0.0.1:9/"
"""


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DaemonProcess]:
    """The daemon with canaries in every secret, and a plugin that puts what it sees into its exceptions."""
    site = tmp_path / "site"
    (site / "probe-0.3.dist-info").mkdir(parents=True)
    shutil.copy(probe_plugin.__file__, site / "probe_plugin.py")
    with (site / "probe_plugin.py").open("a") as file:
        file.write(
            "\n\n@cdmd.extension(on='bell.*', on_failure='store')\n"
            "async def loud(event: cdmd.Event, context: cdmd.Context) -> None:\n"
            "    raise ValueError(f'{event} {dict(context.settings)}')\n\n\n"
            "@cdmd.hookimpl(specname='cdmd_extensions')\ndef more():\n    return [loud]\n"
        )
    (site / "probe-0.3.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: probe\nVersion: 0.3\n")
    (site / "probe-0.3.dist-info" / "entry_points.txt").write_text("[cdmd]\nprobe = probe_plugin\n")
    (tmp_path / "shop.token").write_text(TOKEN + "\n")
    (tmp_path / "shop.token").chmod(0o600)
    monkeypatch.chdir(tmp_path)
    paths = [str(site), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    made = DaemonProcess(tmp_path, environment={"PYTHONPATH": os.pathsep.join(filter(None, paths))})
    made.configure(CONFIG.format(folder=tmp_path))
    with made as running:
        yield running


def provoke(daemon: DaemonProcess) -> None:
    """Canaries in every place of a request, in good ones and in every kind of bad one."""
    good = {"id": "o-1", "status": "paid", "at": "2026-11-23T10:00:00Z", "email": PERSON, "name": "CANARY name"}
    headers = {"authorization": f"Bearer {TOKEN}", "x-note": "CANARY-header"}
    with httpx.Client(base_url=daemon.url, headers=headers) as client:
        assert client.post("/hooks/shop?who=CANARY-query", json=good).status_code == 200
        for change in ({"id": [PERSON]}, {"at": PERSON}, {"status": None}, {"email": {"x": PERSON}}, {"id": PERSON * 200}):
            assert client.post("/hooks/shop", json=good | change).json()["rejected"]
        for body in (PERSON, '{"CANARY": ', '["CANARY', b"\xff CANARY"):
            assert client.post("/hooks/shop", content=body).status_code == 400
        assert client.post(f"/hooks/{PERSON}").status_code == 404
        assert client.request("CANARY", "/hooks/shop").status_code == 400
        assert client.post("/hooks/shop", json=good, headers={"authorization": "Bearer CANARY-wrong"}).status_code == 401
        assert client.put("/bells/door", content=PERSON, headers={"x-token": TOKEN}).status_code == 200
        assert client.put("/bells/door", content=b"\xff CANARY", headers={"x-token": TOKEN}).status_code == 500
    for arguments in (
        ("profile", "show", f"email:{PERSON}"),
        ("profile", "show", PERSON),
        ("profile", "show", "email:CANARY"),
        ("events", "show", PERSON),
        ("events", "show", "o-1", "--reveal"),
        ("pause", PERSON),
        ("dead-letters", "discard", "--connector", PERSON, "--yes"),
        ("dead-letters", "list", "--type", PERSON),
    ):
        daemon.cdmctl(*arguments, check=False)


def test_no_secret_and_no_personal_data_where_it_does_not_belong(daemon: DaemonProcess) -> None:
    provoke(daemon)
    assert daemon.process is not None
    shown = {
        " ".join(arguments): daemon.cdmctl(*arguments).stdout
        for arguments in (
            ("status", "--json"), ("status",), ("metrics",), ("plugins",), ("config", "show"), ("config", "show", "--json"),
            ("events", "show", "o-1"), ("dead-letters", "list"), ("dead-letters", "list", "--json"),
            ("dead-letters", "show", "2"),
        )
    }  # fmt: skip
    shown["command line"] = Path(f"/proc/{daemon.process.pid}/cmdline").read_text()
    daemon.stop()
    shown["log"] = daemon.log_file.read_text()
    assert "loud" in shown["plugins"]
    assert "daemon_stopped" in shown["log"]
    found = {place: lines for place, text in shown.items() if (lines := _canaries(text))}
    assert found == {}


def test_an_audit_row_says_what_was_looked_at_and_not_who(daemon: DaemonProcess) -> None:
    provoke(daemon)
    rows = daemon.ask("audit")
    asked = [row for row in rows if row["command"] == "profile show"]
    assert len(asked) >= 3
    assert _canaries("\n".join(str(row) for row in asked)) == []


def test_what_the_daemon_keeps_is_for_nobody_else(daemon: DaemonProcess, tmp_path: Path) -> None:
    provoke(daemon)
    daemon.cdmctl("backup", str(tmp_path / "backup.tar"))
    kept = [tmp_path / "state", *(tmp_path / "state").rglob("*"), tmp_path / "backup.tar"]
    modes = {str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode) for path in kept}
    assert {mode for path, mode in modes.items() if (tmp_path / path).is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if (tmp_path / path).is_file()} == {0o600}
    assert {"state/journal.db", "state/journal.db-wal", "state/store.db", "state/store.db-shm"} <= modes.keys()
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o660


def _canaries(text: str) -> list[str]:
    """The lines that hold one."""
    found = [line[:300] for line in text.splitlines() if any(canary in line for canary in CANARIES)]
    return [line for line in found if not re.fullmatch(r"\S*/cdmd\.toml", line)]
