"""A tap that others wrote, in an environment of its own, against a real source on loopback."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from cdmd_singer import Singer, SingerSettings
from cdmd_singer.settings import StreamSettings

import cdmd
from cdmd.testing import RecordingSource

HERE = Path(__file__).parents[1]
REQUIREMENT = "tap-rest-api-msdk==1.4.2"
CONTACTS = [{"id": n, "email": f"c{n}@example.com", "updated_at": f"2026-01-{n:02}T00:00:00Z"} for n in range(1, 29)]
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def tap() -> Path:
    """The tap's program; its environment is made once and kept. Where there is no package index this skips, but not in CI."""
    home = HERE / ".taps" / REQUIREMENT
    program = home / "bin" / "tap-rest-api-msdk"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True, timeout=60)
        install = [home / "bin" / "pip", "install", "-q", REQUIREMENT]
        done = subprocess.run(install, check=False, capture_output=True, text=True, timeout=150)
        if done.returncode and not os.environ.get("CI"):
            pytest.skip(f"{REQUIREMENT} cannot be installed here")
        assert done.returncode == 0, done.stderr[-2000:]
    return program


class Contacts(BaseHTTPRequestHandler):
    """What was updated since, for whoever has the token."""

    asked: ClassVar[list[dict[str, list[str]]]] = []

    def do_GET(self) -> None:
        given = parse_qs(urlsplit(self.path).query)
        if self.headers.get("authorization") != "Bearer s3cret":
            self.send_error(401)
            return
        self.asked.append(given)
        (since,) = given.get("updated_since", [""])
        found = [one for one in CONTACTS if one["updated_at"] >= since]
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({"items": found}).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[str]:
    Contacts.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Contacts)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def connector(tap: Path, api: str, *, token: bytes = b"s3cret") -> Singer:
    stream: dict[str, Any] = {
        "name": "contacts", "path": "/contacts", "records_path": "$.items[*]", "primary_keys": ["id"],
        "replication_key": "updated_at", "source_search_field": "updated_since", "source_search_query": "$last_run_date",
    }  # fmt: skip
    event = cdmd.EventSettings(id="{id}:{updated_at}", type="contact.updated", identifiers={"email": "{email}"})
    settings = SingerSettings(
        command=(str(tap),),
        config={"api_url": api, "auth_method": "bearer_token", "streams": [stream], "backoff_type": "message"},
        secrets={"bearer_token": cdmd.Secret(token, reference="env:X")},
        streams={"contacts": StreamSettings(event=event)},
    )
    return Singer("crm", settings)


async def test_a_tap_of_others_brings_its_records_and_goes_on_from_its_own_state(tap: Path, api: str, tmp_path: Path) -> None:
    running = connector(tap, api)
    source = RecordingSource("crm", scratch=tmp_path, streams=running.streams)
    assert await running.once(source) is None
    assert [event.identifiers["email"] for event in source.events] == [one["email"] for one in CONTACTS]
    assert not source.faults
    bookmark = json.loads(source.state[b"state"])["bookmarks"]["contacts"]
    assert bookmark["replication_key_value"] == CONTACTS[-1]["updated_at"]
    await running.once(source)
    assert Contacts.asked[-1] == {"updated_since": [CONTACTS[-1]["updated_at"]]}
    assert [event.id for event in source.events[len(CONTACTS) :]] == [source.events[-1].id], "told again, under the same id"


async def test_a_tap_whose_token_is_refused_is_a_failure_that_does_not_show_it(tap: Path, api: str, tmp_path: Path) -> None:
    running = connector(tap, api, token=b"wr0ng")
    source = RecordingSource("crm", scratch=tmp_path, streams=running.streams)
    with pytest.raises(cdmd.SourceUnavailable, match=r"^discovery: the tap ended with status 1$"):
        await running.once(source)
    assert not source.events
