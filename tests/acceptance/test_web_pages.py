"""A web page in a real browser sends to an application: by fetch and by beacon, from its own origin and from a strange one."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from cdmd.testing import DaemonProcess
from tests.acceptance.trial import check_sums, checkout, settled, until
from tests.peers import npm

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]

KEY = "write-key-of-the-page"
CONFIG = """
[connectors.page]
type = "application"
write_keys = ["env:WRITE_KEY"]
cors_origins = ["{origin}"]

[connectors.other]
type = "application"
write_keys = ["env:OTHER_KEY"]
"""
PAGE = """<!doctype html><title>Shop</title><script>
const api = %s, key = %s, seen = {}
const call = (id, more) => JSON.stringify({ messageId: id, anonymousId: 'visitor', event: 'Viewed', ...more })
async function tried(name, send) {
  try {
    const answer = await send()
    seen[name] = [answer.status, await answer.json(), answer.headers.get('retry-after')]
  }
  catch (error) { seen[name] = error.name }
}
async function main() {
  const json = { authorization: 'Basic ' + btoa(key + ':'), 'content-type': 'application/json' }
  const wrong = { authorization: 'Basic ' + btoa('wrong:') }
  await tried('json', () => fetch(api + '/v1/track', { method: 'POST', headers: json, body: call('json') }))
  await tried('text', () => fetch(api + '/v1/track', { method: 'POST', body: call('text', { writeKey: key }) }))
  await tried('wrong', () => fetch(api + '/v1/track', { method: 'POST', headers: wrong, body: call('wrong') }))
  const kept = { method: 'POST', keepalive: true, headers: json, body: call('keepalive') }
  await tried('keepalive', () => fetch(api + '/v1/track', kept))
  const large = { method: 'POST', headers: json, body: call('large', { properties: { text: 'x'.repeat(6 << 20) } }) }
  await tried('large', () => fetch(api + '/v1/track', large))
  const blob = new Blob([call('blob', { writeKey: key })], { type: 'application/json' })
  seen.beacons = [
    navigator.sendBeacon(api + '/v1/track', call('beacon', { writeKey: key })), navigator.sendBeacon(api + '/v1/track', blob),
  ]
  await fetch('/done', { method: 'POST', body: JSON.stringify(seen) })
}
main()
</script>
"""
LIBRARY = "@segment/analytics-next"
TRACKED = """<!doctype html><title>Shop</title><script src="/library.js"></script><script>
const host = %s, key = %s
async function main(strategy, user) {
  const load = { writeKey: key, cdnSettings: { integrations: { 'Segment.io': { apiKey: key } } } }
  const segment = { apiHost: host + '/v1', protocol: 'http', deliveryStrategy: { strategy, config: { size: 6 } } }
  const analytics = AnalyticsNext.AnalyticsBrowser.load(
    load, { integrations: { 'Segment.io': segment }, disableClientPersistence: true }
  )
  await analytics.identify(user, { email: user + '@example.com' })
  await analytics.track('Viewed', { price: 3.5 })
  await analytics.page('Shop', 'Start')
  await analytics.screen('Shop', 'Start')
  await analytics.group('g-1', { name: 'Family' })
  await analytics.alias(user + '-new', user)
}
const done = (said) => fetch('/done', { method: 'POST', body: JSON.stringify(said) })
main('standard', 'one').then(() => main('batching', 'two')).then(() => done({}), (error) => done({ error: String(error) }))
</script>
"""
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-default-browser-check",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-default-apps", "--metrics-recording-only",
)  # fmt: skip


class Site(ThreadingHTTPServer):
    """A web site on loopback: one page, and what its script reports at the end."""

    daemon_threads = True

    def __init__(self) -> None:
        self.page = self.library = b""
        self.reported: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), _handler(self))

    def origin(self, host: str) -> str:
        return f"http://{host}:{self.server_address[1]}"


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({"/": site.page, "/library.js": site.library}.get(self.path, b""))

        def do_POST(self) -> None:
            site.reported.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self._answer(b"")

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextmanager
def browser(url: str, folder: Path) -> Iterator[None]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("chromium is not installed, so no browser can try it")
    folder.mkdir(exist_ok=True)
    with (folder / "browser.log").open("w") as log:
        process = subprocess.Popen([found, *FLAGS, f"--user-data-dir={folder / 'browser'}", url], stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)


def test_a_page_of_a_configured_origin_sends_and_reads_every_answer_and_a_strange_one_is_kept_out(
    site: Site, tmp_path: Path
) -> None:
    config = CONFIG.format(origin=site.origin("localhost"))
    keys = {"WRITE_KEY": KEY, "OTHER_KEY": "another"}
    with DaemonProcess(tmp_path, config, environment={**keys, **checkout()}) as daemon:
        site.page = (PAGE % (json.dumps(daemon.url), json.dumps(KEY))).encode()
        with browser(site.origin("localhost"), tmp_path):
            until(lambda: site.reported, seconds=60, what="the page's report")
            until(lambda: settled(daemon)["page"]["applied"] >= 5, what="the beacons")
        row = settled(daemon)["page"]
        check_sums(row)
        stored = daemon.ask("profile", "show", "anonymous_id:visitor")["activities"]
        with browser(site.origin("127.0.0.1"), tmp_path / "strange"):
            until(lambda: len(site.reported) == 2, seconds=60, what="the strange page's report")
        daemon.cdmctl("pause", "page")
        with browser(site.origin("localhost"), tmp_path / "paused"):
            until(lambda: len(site.reported) == 3, seconds=60, what="the report of the page that is told to wait")
    seen, strange, paused = site.reported
    assert seen["json"] == seen["text"] == seen["keepalive"] == [200, {"success": True}, None]
    assert (seen["large"][0], seen["large"][1]["code"]) == (413, "too_large")
    assert (paused["json"][0], paused["json"][1]["code"], paused["json"][2]) == (503, "unavailable", "60")
    assert seen["wrong"][0] == 401
    assert seen["wrong"][1]["code"] == "invalid_write_key"
    assert seen["beacons"] == [True, True]
    assert {one["id"] for one in stored} == {"json", "text", "keepalive", "beacon", "blob"}
    assert strange["json"] == strange["wrong"] == strange["keepalive"] == strange["large"] == "TypeError", (
        "the browser did not even send"
    )


def test_the_official_library_for_browsers_works_unchanged_call_by_call_and_in_batches(
    site: Site, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    folder = npm.installed(pytestconfig, tmp_path, "browser", [f"{LIBRARY}@1.84.3"])
    site.library = (folder / "node_modules" / LIBRARY / "dist" / "umd" / "index.js").read_bytes()
    config = CONFIG.format(origin=site.origin("localhost"))
    with DaemonProcess(tmp_path, config, environment={"WRITE_KEY": KEY, "OTHER_KEY": "another", **checkout()}) as daemon:
        host = daemon.url.removeprefix("http://")
        site.page = (TRACKED % (json.dumps(host), json.dumps(KEY))).encode()
        with browser(site.origin("localhost"), tmp_path):
            until(lambda: site.reported, seconds=60, what="the page's report")
            assert site.reported == [{}]
            until(lambda: settled(daemon)["page"]["applied"] >= 12, what="all of its calls")
        check_sums(row := settled(daemon)["page"])
        assert (row["applied"], row["accepted"]) == (12, 12)
        for user in ("one", "two"):
            person = daemon.ask("profile", "show", f"user_id:{user}")
            assert person["traits"]["email"] == f"{user}@example.com"
            assert "Viewed" in {one["type"] for one in person["activities"]}
