"""Senders in front of the real daemon: behind nginx, with certificates, while secrets are exchanged, all at once, and again."""

import base64
import http.client
import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import pytest
from cryptography import x509
from standardwebhooks import Webhook
from twilio.request_validator import RequestValidator

from cdmd.testing import DaemonProcess
from tests.acceptance.trial import JSON, Sender, check_sums, checkout, hits, post, rows, settled, until
from tests.kit.authority import Authority

pytestmark = [pytest.mark.acceptance]

OLD = "whsec_" + base64.b64encode(b"old" * 9).decode()
NEW = "whsec_" + base64.b64encode(b"new" * 9).decode()
TWILIO, SEGMENT = "twilio-auth-token", "vZ3nB0mJq7xK5tR9wLc2yA"
FORM = {"content-type": "application/x-www-form-urlencoded"}
PROXY, SENDER, STRANGER = "127.0.0.9", "127.0.0.7", "127.0.0.8"
"""Addresses of loopback: nginx calls the daemon from the first, and is called from the others."""

SHOP = """
[connectors.shop]
type = "webhook"
verify = "standard-webhooks"
secrets = [{secrets}]
"""
BEHIND = """
[http]
listen = ["127.0.0.1:0"]
public_url = "https://localhost:{port}"
[http.proxies]
trusted = ["{proxy}/32"]
subject_header = "X-SSL-Subject"
verify_header = "X-SSL-Verify"

[connectors.open]
type = "webhook"
verify = "none"
allow_from = ["{sender}/32"]

[connectors.calls]
type = "webhook"
verify = "twilio"
secrets = ["env:TWILIO"]

[connectors.named]
type = "webhook"
verify = "none"
client_names = ["CN=sender"]

[connectors.hidden]
type = "webhook"
verify = "none"
path_secrets = ["env:SEGMENT"]
"""
NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {certificate};
        ssl_client_certificate {authority};
        ssl_verify_client optional;
        location / {{
            proxy_pass {daemon};
            proxy_bind {proxy};
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-SSL-Subject $ssl_client_s_dn;
            proxy_set_header X-SSL-Verify $ssl_client_verify;
        }}
    }}
}}
"""


class Front(NamedTuple):
    """The daemon behind nginx, and what clients need to reach either."""

    daemon: DaemonProcess
    port: int
    authority: Authority
    sender: Path

    def send(
        self,
        path: str,
        body: bytes = b"{}",
        headers: Mapping[str, str] = JSON,
        *,
        source: str = SENDER,
        certificate: Path | None = None,
    ) -> int:
        """One request through nginx from that address; the status."""
        context = ssl.create_default_context(cadata=self.authority.pem.decode())
        if certificate is not None:
            context.load_cert_chain(certificate)
        connection = http.client.HTTPSConnection(
            "localhost", self.port, timeout=10, source_address=(source, 0), context=context
        )
        return _status(connection, path, body, headers)

    def direct(self, path: str, headers: Mapping[str, str], *, source: str) -> int:
        """One request past nginx."""
        host, _, port = self.daemon.url.removeprefix("http://").partition(":")
        return _status(
            http.client.HTTPConnection(host, int(port), timeout=10, source_address=(source, 0)), path, b"{}", headers
        )


def _status(connection: http.client.HTTPConnection, path: str, body: bytes, headers: Mapping[str, str]) -> int:
    with closing(connection):
        connection.request("POST", path, body, dict(headers))
        answer = connection.getresponse()
        answer.read()
        return answer.status


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("nginx is not installed, so no proxy can stand in front")
    folder = tmp_path / "nginx"
    folder.mkdir()
    authority, port = Authority(folder), _free_port()
    (folder / "authority.pem").write_bytes(authority.pem)
    server = authority.issue("server", x509.DNSName("localhost"))
    environment = {"TWILIO": TWILIO, "SEGMENT": SEGMENT, **checkout()}
    config = BEHIND.format(port=port, proxy=PROXY, sender=SENDER)
    with DaemonProcess(tmp_path, config, environment=environment) as daemon:
        given = {"folder": folder, "port": port, "certificate": server, "authority": folder / "authority.pem"}
        (folder / "nginx.conf").write_text(NGINX.format(**given, daemon=daemon.url, proxy=PROXY))
        log = (folder / "log").open("w")
        nginx = subprocess.Popen([program, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=log, stdout=log)
        try:
            until(lambda: _listens(port) or nginx.poll() is not None, what="nginx to listen")
            assert nginx.poll() is None, (folder / "log").read_text()
            yield Front(daemon, port, authority, authority.issue("sender"))
        finally:
            nginx.terminate()
            nginx.wait(10)
            log.close()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_behind_nginx_an_allow_list_counts_whom_nginx_was_called_by_and_no_forged_header(front: Front) -> None:
    forged = {**JSON, "X-Forwarded-For": SENDER}
    assert front.send("/hooks/open") == 200
    assert front.send("/hooks/open", headers={**JSON, "X-Forwarded-For": STRANGER}) == 200
    assert front.send("/hooks/open", source=STRANGER) == 403
    assert front.send("/hooks/open", headers=forged, source=STRANGER) == 403
    assert front.send("/hooks/open", headers={**JSON, "X-Forwarded-For": f"{SENDER}, {PROXY}"}, source=STRANGER) == 403
    assert front.direct("/hooks/open", forged, source=STRANGER) == 403
    row = rows(front.daemon)["open"]
    assert (row["received"], row["refused"], row["accepted"]) == (6, 4, 2)


def test_behind_nginx_the_signed_address_is_the_public_one(front: Front) -> None:
    fields = {"MessageSid": "SM1", "Body": "hello"}
    for target, expected in (("/hooks/calls", 200), ("/hooks/calls?a=b%20c", 200), ("/hooks/calls/", 404)):
        signature = RequestValidator(TWILIO).compute_signature(f"https://localhost:{front.port}{target}", fields)
        headers = {**FORM, "X-Twilio-Signature": signature}
        assert front.send(target, urlencode(fields).encode(), headers) == expected
        assert front.send(target, urlencode({**fields, "Body": "bye"}).encode(), headers) == (404 if expected == 404 else 401)
    wrong = RequestValidator(TWILIO).compute_signature(f"{front.daemon.url}/hooks/calls", fields)
    assert front.send("/hooks/calls", urlencode(fields).encode(), {**FORM, "X-Twilio-Signature": wrong}) == 401


def test_behind_nginx_a_certificate_counts_only_where_nginx_has_verified_it(front: Front, tmp_path: Path) -> None:
    forged = {**JSON, "X-SSL-Subject": "CN=sender", "X-SSL-Verify": "SUCCESS"}
    assert front.send("/hooks/named", certificate=front.sender) == 200
    assert front.send("/hooks/named", headers=forged) == 403
    assert front.send("/hooks/named", certificate=front.authority.issue("other")) == 403
    assert front.direct("/hooks/named", forged, source=STRANGER) == 403
    (tmp_path / "strangers").mkdir()
    assert front.send("/hooks/named", certificate=Authority(tmp_path / "strangers").issue("sender")) == 400, (
        "nginx's own answer"
    )


def test_a_secret_path_is_in_nothing_that_is_written_or_shown(front: Front) -> None:
    assert front.send(f"/hooks/hidden/{SEGMENT}") == 200
    assert front.send(f"/hooks/hidden/{SEGMENT[:-1]}x") == 404
    settled(front.daemon)
    shown = [front.daemon.cdmctl(*words).stdout for words in (("status", "--json"), ("config", "show"), ("metrics",))]
    assert not [text for text in shown if SEGMENT in text]
    assert hits(SEGMENT, [front.daemon.log_file, front.daemon.state_dir]) == []


def test_a_certificate_that_the_daemon_itself_verifies(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    (tmp_path / "authority").write_bytes(authority.pem)
    server = authority.issue("server", x509.IPAddress(ip_address("127.0.0.1")))
    sender = authority.issue("sender", x509.DNSName("hooks.example.com"))
    files = f'certificate = "file:{server}", key = "file:{server}", client_ca = "file:{tmp_path / "authority"}"'
    named = '[connectors.named]\ntype = "webhook"\nverify = "none"\nclient_names = ["DNS:hooks.example.com"]\n'
    config = f'[http]\nlisten = ["127.0.0.1:0"]\ntls = {{ {files} }}\n{named}'
    with DaemonProcess(tmp_path, config, environment=checkout()) as daemon:
        assert daemon.url.startswith("https://127.0.0.1:")
        for certificate, expected in ((sender, 200), (None, 403), (authority.issue("other"), 403)):
            context = ssl.create_default_context(cadata=authority.pem.decode())
            if certificate is not None:
                context.load_cert_chain(certificate)
            port = int(daemon.url.rpartition(":")[2])
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
            assert _status(connection, "/hooks/named", b"{}", JSON) == expected
        assert rows(daemon)["named"]["accepted"] == 1


# ---- one secret after the other, and one delivery many times -----------------------------------------------------------


def _signed(key: str, ident: str, *, late: float = 0.0, body: bytes = b'{"type":"a"}') -> dict[str, str]:
    at = datetime.now(UTC) - timedelta(seconds=late)
    signature = Webhook(key).sign(ident, at, body.decode())
    return {**JSON, "webhook-id": ident, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    environment = {"OLD": OLD, "NEW": NEW, **checkout()}
    with DaemonProcess(tmp_path, SHOP.format(secrets='"env:OLD"'), environment=environment) as found:
        yield found


class Pushed(NamedTuple):
    """A way of being told: its configuration with live secrets, its path, and a delivery as its sender makes it."""

    name: str
    config: str
    path: str
    made: Callable[[str, str], tuple[bytes, dict[str, str]]]


def _call(key: str, ident: str) -> tuple[bytes, dict[str, str]]:
    call = {"type": "track", "event": "a", "userId": "u", "messageId": ident}
    user = base64.b64encode(f"{key}:".encode()).decode()
    return json.dumps({"batch": [call]}).encode(), {**JSON, "authorization": f"Basic {user}"}


APP = '[connectors.app]\ntype = "application"\nwrite_keys = [{secrets}]\n'
PUSHED = (
    Pushed("shop", SHOP, "/hooks/shop", lambda key, ident: (b'{"type":"a"}', _signed(key, ident))),
    Pushed("app", APP, "/v1/batch", _call),
)
each_way = pytest.mark.parametrize("pushed", PUSHED, ids=[one.name for one in PUSHED])


@each_way
def test_secrets_are_exchanged_under_load_and_no_genuine_delivery_is_refused(tmp_path: Path, pushed: Pushed) -> None:
    key, stop, statuses = [OLD], threading.Event(), Counter[int]()
    lock = threading.Lock()

    def deliver(number: int) -> None:
        with Sender(daemon.url) as sender:
            count = 0
            while not stop.is_set():
                status = sender.send(pushed.path, *pushed.made(key[0], f"{number}-{count}")).status
                count += 1
                with lock:
                    statuses[status] += 1

    def reload(secrets: str) -> None:
        daemon.configure(pushed.config.format(secrets=secrets))
        daemon.cdmctl("reload")

    def so_far(more: int) -> None:
        wanted = sum(statuses.values()) + more
        until(lambda: sum(statuses.values()) >= wanted, seconds=60, what="more deliveries")

    def verified_by(secret: str) -> bool:
        return str(rows(daemon)[pushed.name]["detail"]).endswith(f"last verified by secret {secret}")

    environment = {"OLD": OLD, "NEW": NEW, **checkout()}
    with DaemonProcess(tmp_path, pushed.config.format(secrets='"env:OLD"'), environment=environment) as daemon:
        with ThreadPoolExecutor(4) as pool:
            running = [pool.submit(deliver, number) for number in range(4)]
            try:
                so_far(50)
                reload('"env:OLD", "env:NEW"')
                so_far(50)
                assert verified_by("1 (env:OLD)")
                key[0] = NEW
                until(lambda: verified_by("2 (env:NEW)"), what="the new secret")
                so_far(50)
                reload('"env:NEW"')
                so_far(50)
            finally:
                stop.set()
            for one in running:
                one.result()
        assert set(statuses) == {200}, statuses
        assert post(f"{daemon.url}{pushed.path}", *pushed.made(OLD, "late")).status == 401
        row = settled(daemon)[pushed.name]
    check_sums(row)
    assert row["applied"] == statuses[200]


@each_way
def test_fifty_copies_of_a_delivery_at_once_have_one_effect_and_are_all_thanked_for(tmp_path: Path, pushed: Pushed) -> None:
    made, ready = pushed.made(OLD, "the one"), threading.Barrier(50)

    def deliver(_: int) -> int:
        with Sender(daemon.url) as sender:
            ready.wait(20)
            return sender.send(pushed.path, *made).status

    config = pushed.config.format(secrets='"env:OLD"')
    with DaemonProcess(tmp_path, config, environment={"OLD": OLD, **checkout()}) as daemon:
        with ThreadPoolExecutor(50) as pool:
            assert set(pool.map(deliver, range(50))) == {200}
        row = settled(daemon)[pushed.name]
    assert (row["received"], row["applied"], row["repeats"]) == (50, 1, 49)


def test_a_replay_has_no_second_effect_inside_its_window_and_is_refused_outside_it(daemon: DaemonProcess) -> None:
    genuine = _signed(OLD, "one", late=290)
    assert [post(f"{daemon.url}/hooks/shop", b'{"type":"a"}', genuine).status for _ in range(3)] == [200, 200, 200]
    for late in (301 + 5, -301 - 5):
        assert post(f"{daemon.url}/hooks/shop", b'{"type":"a"}', _signed(OLD, "other", late=late)).status == 401
    renamed = {**genuine, "webhook-id": "another"}
    assert post(f"{daemon.url}/hooks/shop", b'{"type":"a"}', renamed).status == 401, "the id is signed"
    row = settled(daemon)["shop"]
    assert (row["applied"], row["repeats"], row["refused"]) == (1, 2, 3)


def test_nothing_that_is_not_signed_chooses_what_a_delivery_is_checked_with(tmp_path: Path) -> None:
    other = SHOP.replace("shop", "other").format(secrets='"env:NEW"')
    environment = {"OLD": OLD, "NEW": NEW, **checkout()}
    with DaemonProcess(tmp_path, SHOP.format(secrets='"env:OLD"') + other, environment=environment) as daemon:
        for_shop = _signed(OLD, "one")
        routing = {**for_shop, "host": "other.example", "x-original-url": "/hooks/shop", "x-forwarded-host": "shop"}
        assert post(f"{daemon.url}/hooks/other?path=/hooks/shop", b'{"type":"a"}', routing).status == 401
        assert post(f"{daemon.url}/hooks/shop", b'{"type":"a"}', routing).status == 200
        assert json.loads(daemon.cdmctl("status", "--json").stdout)["totals"]["events"] <= 1


def test_slow_senders_of_one_connector_do_not_hold_the_others(daemon: DaemonProcess) -> None:
    daemon.configure(
        SHOP.format(secrets='"env:OLD"') + '[connectors.slow]\ntype = "webhook"\nverify = "none"\nquota = "1/1m"\n'
    )
    daemon.cdmctl("reload")
    host, _, port = daemon.url.removeprefix("http://").partition(":")
    waiting = [socket.create_connection((host, int(port)), timeout=10) for _ in range(100)]
    try:
        for one in waiting:
            one.sendall(
                b"POST /hooks/slow HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
            )
        assert post(f"{daemon.url}/hooks/slow", b"{}").status == 200
        answers = [post(f"{daemon.url}/hooks/slow", b"{}") for _ in range(3)]
        assert [(one.status, 1 <= int(one.headers["retry-after"]) <= 60) for one in answers] == [(429, True)] * 3
        assert post(f"{daemon.url}/hooks/shop", b'{"type":"a"}', _signed(OLD, "one")).status == 200
    finally:
        for one in waiting:
            one.close()
