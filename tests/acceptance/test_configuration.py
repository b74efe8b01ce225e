"""The configuration of a running daemon: mistakes, reloads, pauses, secrets, names, listeners, and none at all."""

import json
import os
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdmd.control.client import Client
from cdmd.testing import DaemonProcess
from tests.acceptance.trial import JSON, Sender, check_sums, checkout, control, exchange, github, post, rows, settled, until

pytestmark = [pytest.mark.acceptance]

INVALID = 6
SHOP = """
[connectors.shop]
type = "webhook"
verify = "none"
"""
TEN_MISTAKES = """
[daemon]
log_level = "loud"
drain = "8 seconds"
[http]
listen = ["127.0.0.1:99999"]
max_bdy = "1MiB"
[queue]
max_events = 0
[connectors.shop]
type = "webhok"
[connectors.pay]
type = "webhook"
verify = "githb"
secrets = ["env:THERE_IS_NO_SUCH_VARIABLE"]
[connectors.crm]
type = "webhook"
verify = "none"
where = "event.data.total >"
[connectors.crm.event]
id = "{id"
"""
EXPECTED_MISTAKES = [
    "daemon.log_level", "daemon.drain", "http.listen", "http.max_bdy", "queue.max_events", "connectors.shop.type",
    "connectors.pay.verify", "connectors.pay.secrets", "connectors.crm.where", "connectors.crm.event.id",
]  # fmt: skip


def _send(daemon: DaemonProcess, name: str, **event: Any) -> int:
    return post(f"{daemon.url}/hooks/{name}", json.dumps({"type": "a", **event}).encode()).status


def _verdicts(daemon: DaemonProcess) -> dict[str, str]:
    report = json.loads(daemon.cdmctl("reload", "--json").stdout)
    return {row["name"]: row["verdict"] for row in report["connectors"]}


def test_a_configuration_with_ten_mistakes_reports_all_ten_of_them(tmp_path: Path) -> None:
    file = tmp_path / "cdmd.toml"
    file.write_text(TEN_MISTAKES)
    for command in ("check", "run"):
        line = [sys.executable, "-m", "cdmd", command, "--config", str(file)]
        done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, **checkout()}, timeout=60)
        told = [text for text in (done.stdout + done.stderr).splitlines() if str(file) in text]
        assert done.returncode == INVALID
        assert len(told) == len(EXPECTED_MISTAKES), told
        for key in EXPECTED_MISTAKES:
            assert sum(f"{key}" in text for text in told) == 1, (key, told)
        joined = "\n".join(told)
        for proposal in ("did you mean max_body?", "did you mean webhook?", "did you mean github?"):
            assert proposal in joined


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    """The shop alone."""
    environment = {**checkout(), "OLD": "the old secret", "NEW": "the new secret"}
    with DaemonProcess(tmp_path, SHOP, environment=environment) as running:
        yield running


def test_a_reload_applies_the_difference_and_says_so_for_each_connector(daemon: DaemonProcess) -> None:
    two = '[connectors.{}]\ntype = "webhook"\nverify = "none"\n'
    daemon.configure(SHOP + two.format("going") + two.format("changing"))
    assert _verdicts(daemon) == {"shop": "unchanged", "going": "started", "changing": "started"}
    assert [_send(daemon, name) for name in ("shop", "going", "changing")] == [200] * 3
    daemon.configure(SHOP + two.format("changing") + 'path = "/elsewhere"\n' + two.format("coming"))
    with Sender(daemon.url) as kept:
        assert kept.send("/hooks/shop", b"{}").status == 200
        expected = {"shop": "unchanged", "going": "stopped", "changing": "restarted", "coming": "started"}
        assert _verdicts(daemon) == expected
        assert kept.send("/hooks/shop", b"{}").status == 200, "on the connection that was open all the while"
        assert kept.send("/elsewhere", b"{}").status == 200
        assert [kept.send(f"/hooks/{name}", b"{}").status for name in ("going", "changing", "coming")] == [404, 404, 200]
    assert rows(daemon).keys() == {"shop", "changing", "coming"}


def test_a_reload_says_so_for_each_target_too(daemon: DaemonProcess) -> None:
    target = '[targets.{}]\ntype = "webhook"\nurl = "http://127.0.0.1:9/{}"\nsign = false\nevents = ["order.*"]\n'
    for names, expected in (
        ({"crm": "a", "old": "b"}, {"crm": "started", "old": "started"}),
        ({"crm": "c", "new": "d"}, {"crm": "restarted", "old": "stopped", "new": "started"}),
        ({"crm": "c", "new": "d"}, {"crm": "unchanged", "new": "unchanged"}),
    ):
        daemon.configure(SHOP + "".join(target.format(*one) for one in names.items()))
        report = json.loads(daemon.cdmctl("reload", "--json").stdout)
        assert {row["name"]: row["verdict"] for row in report["targets"]} == expected


def test_a_mistake_in_a_reload_changes_nothing(daemon: DaemonProcess) -> None:
    before = control(daemon).get("/v1/config")
    for wrong in (
        TEN_MISTAKES,
        "no toml at all [",
        SHOP + '[connectors.twin]\ntype="webhook"\nverify="none"\npath="/hooks/shop"\n',
    ):
        daemon.config_file.write_text(wrong)
        done = daemon.cdmctl("reload", check=False)
        assert done.returncode == INVALID
        assert "cdmd.toml" in done.stderr
        assert control(daemon).get("/v1/config") == before
        assert _send(daemon, "shop") == 200
    assert len([line for line in daemon.cdmctl("reload", check=False).stderr.splitlines() if line]) == 1


def test_a_paused_connector_asks_its_sender_to_wait_even_after_a_restart(daemon: DaemonProcess) -> None:
    assert _send(daemon, "shop", id="before") == 200
    daemon.cdmctl("pause", "shop")
    for _ in range(2):
        reply = post(f"{daemon.url}/hooks/shop", b'{"type":"a"}')
        assert (reply.status, reply.headers["retry-after"]) == (503, "60")
        assert rows(daemon)["shop"]["state"] == "paused"
        assert daemon.stop() == 0
        daemon.start()
    daemon.cdmctl("resume", "shop")
    assert _send(daemon, "shop", id="after") == 200
    row = settled(daemon)["shop"]
    check_sums(row)
    assert (row["state"], row["refused"], row["applied"]) == ("running", 2, 2)


def test_pausing_a_sender_that_never_tries_again_is_warned_of(daemon: DaemonProcess) -> None:
    daemon.configure(SHOP + '[connectors.code]\ntype = "webhook"\nverify = "github"\nsecrets = ["env:OLD"]\n')
    daemon.cdmctl("reload")
    assert "does not try again" in daemon.cdmctl("pause", "code").stderr


def test_two_secrets_are_live_while_one_is_exchanged(daemon: DaemonProcess) -> None:
    code = '[connectors.code]\ntype = "webhook"\nverify = "github"\nsecrets = [{}]\n'
    old, new = "the old secret", "the new secret"

    def status_with(secret: str, delivery: str) -> int:
        return post(f"{daemon.url}/hooks/code", b"{}", github(secret, b"{}", event="ping", delivery=delivery)).status

    for place, (live, expected) in enumerate(
        [('"env:OLD"', (200, 401)), ('"env:NEW", "env:OLD"', (200, 200)), ('"env:NEW"', (401, 200))]
    ):
        daemon.configure(SHOP + code.format(live))
        daemon.cdmctl("reload")
        assert (status_with(old, f"old-{place}"), status_with(new, f"new-{place}")) == expected
    shown = daemon.cdmctl("config", "show", "--json").stdout
    assert "env:NEW" in shown
    assert "the new secret" not in shown


def test_only_events_about_known_customers_are_kept_where_that_is_asked(daemon: DaemonProcess) -> None:
    known = '[connectors.letters]\ntype = "webhook"\nverify = "none"\nknown_only = true\n'
    daemon.configure(SHOP + known)
    daemon.cdmctl("reload")
    stranger, joe = {"email": "stranger@example.com"}, {"email": "joe@example.com"}
    answer = post(f"{daemon.url}/hooks/letters", json.dumps({"type": "a", "identifiers": joe, "id": "early"}).encode())
    assert answer.body == b'{"accepted":0,"filtered":1}'
    assert _send(daemon, "shop", identifiers=joe) == 200
    late = post(f"{daemon.url}/hooks/letters", json.dumps({"type": "a", "identifiers": joe, "id": "late"}).encode())
    assert late.body == b'{"accepted":1,"filtered":0}', "at once after the customer became known"
    assert _send(daemon, "letters", identifiers=stranger) == 200
    settled(daemon)
    profile = daemon.ask("profile", "show", "email:joe@example.com")
    assert {(row["source"]) for row in profile["activities"]} == {"shop", "letters"}
    assert daemon.cdmctl("profile", "show", "email:stranger@example.com", check=False).returncode == 4
    files = [file.read_bytes() for file in daemon.state_dir.rglob("*") if file.is_file()]
    assert not [content for content in files if b"stranger@" in content]


def test_a_connector_that_is_renamed_still_knows_what_it_had(daemon: DaemonProcess) -> None:
    assert _send(daemon, "shop", id="one") == 200
    settled(daemon)
    daemon.configure('[connectors.store]\ntype = "webhook"\nverify = "none"\nwas = ["shop"]\n')
    assert _verdicts(daemon) == {"shop": "stopped", "store": "started"}
    for _ in range(2):
        assert _send(daemon, "store", id="one") == 200
        row = settled(daemon)["store"]
        assert row["applied"] == 0, "the same source and id as before, only under another name"
        daemon.stop()
        daemon.start()
    assert _send(daemon, "store", id="two") == 200
    assert settled(daemon)["store"]["applied"] == 1


# ---- where it listens ----------------------------------------------------------------------------------------------


def test_it_listens_on_ipv6_and_ipv4_at_once(tmp_path: Path) -> None:
    if not _has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    config = '[http]\nlisten = ["[::1]:0", "127.0.0.1:0"]\n' + SHOP
    with DaemonProcess(tmp_path, config, environment=checkout()) as daemon:
        assert daemon.url.startswith("http://[::1]:")
        assert post(f"{daemon.url}/hooks/shop", b"{}").status == 200
        assert exchange(daemon.url, b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").startswith(
            b"HTTP/1.1 200 "
        )


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_it_answers_on_a_socket_that_systemd_handed_over(tmp_path: Path) -> None:
    activate = shutil.which("systemd-socket-activate")
    if activate is None:
        pytest.skip("systemd-socket-activate is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    daemon = DaemonProcess(tmp_path, '[http]\nlisten = ["fd:http"]\n' + SHOP, environment=checkout())
    line = [activate, "--fdname=http", f"--listen=127.0.0.1:{port}"]
    line += [f"--setenv={name}" for name in ("PYTHONPATH", "HOME", "PATH") if name in daemon.environment]
    line += [sys.executable, "-m", "cdmd", "run", "--config", str(daemon.config_file)]
    with daemon.log_file.open("w") as log, subprocess.Popen(line, stdout=log, stderr=log, env=daemon.environment) as process:
        try:
            until(lambda: "Listening" in daemon.log_file.read_text(), what="systemd-socket-activate")
            assert post(f"http://127.0.0.1:{port}/hooks/shop", b"{}", JSON).status == 200
            assert f"http://127.0.0.1:{port}" in daemon.log_file.read_text()
        finally:
            process.terminate()
            process.wait(60)


# ---- without any configuration -------------------------------------------------------------------------------------


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[tuple[float, str, Path]]:
    """``cdmd run`` as a stranger starts it: how many seconds until it was ready, what it said, and its home."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("CDMD_", "XDG_", "STATE_", "RUNTIME_"))
    }
    environment |= {**checkout(), "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    (tmp_path / "run").mkdir(mode=0o700)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8787))
        except OSError:
            pytest.skip("something else listens on the default port 8787")
    if Path("/etc/cdmd/cdmd.toml").exists():
        pytest.skip("this machine has a configuration of its own")
    began, said = time.monotonic(), ""
    line = [sys.executable, "-m", "cdmd", "run"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            for text in process.stdout:
                said += text
                if text.startswith("cdmd is ready"):
                    break
            yield time.monotonic() - began, said, tmp_path
        finally:
            process.terminate()
            process.wait(60)


@pytest.mark.alone
def test_without_configuration_it_starts_and_the_line_it_prints_makes_a_customer(
    bare: tuple[float, str, Path],
) -> None:
    seconds, said, home = bare
    assert seconds < 30.0  # two on a machine that does nothing else: tests/bench/start.py
    assert "http://127.0.0.1:8787" in said
    control_socket = home / "run" / "cdmd" / "control.sock"
    assert str(control_socket) in said
    pasted = next(line.strip() for line in said.splitlines() if line.strip().startswith("curl "))
    token = (home / ".local/state/cdmd/inbox.token").read_text().strip()
    assert token not in said
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed, so the line cannot be pasted")
    done = subprocess.run(["sh", "-c", pasted], capture_output=True, text=True, timeout=60)
    assert done.stdout == '{"accepted":1,"filtered":0}'
    shown = next(line.strip() for line in said.splitlines() if "profile show" in line).split()
    command = [sys.executable, "-m", "cdmd.cli.control_commands", *shown[1:], "--json"]
    client = Client([str(control_socket)])
    until(lambda: client.get("/v1/status")["totals"]["profiles"] == 1, what="the profile")
    told = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **checkout()}, timeout=60, check=True)
    profile = json.loads(told.stdout)
    assert profile["traits"] == {"first_name": "Joe"}
    assert [row["type"] for row in profile["activities"]] == ["order.paid"]
    assert post("http://127.0.0.1:8787/hooks/inbox", b"{}").status == 401


def test_a_tail_in_a_pipe_ends_when_the_daemon_stops_and_one_that_is_to_go_on_does(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    line = [sys.executable, "-m", "cdmd.cli.control_commands", "--socket", str(daemon.socket), "tail", "--json"]
    shown, complained = tmp_path / "shown", tmp_path / "complained"
    lasting = subprocess.Popen([*line, "--reattach"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=daemon.environment)
    with (
        shown.open("w") as out,
        complained.open("w") as err,
        subprocess.Popen(line, stdout=out, stderr=err, env=daemon.environment) as tail,
    ):
        try:
            until(
                lambda: (
                    _send(daemon, "shop", id=str(time.monotonic_ns())) == 200 and shown.read_text() and _read(lasting, b'"id"')
                ),
                what="a line of each",
            )
            assert daemon.stop() == 0
            assert tail.wait(10) == 0
        finally:
            tail.kill()
    assert complained.read_text() == ""
    try:
        daemon.start()
        until(
            lambda: _send(daemon, "shop", id=f"after-{time.monotonic_ns()}") == 200 and _read(lasting, b"after-"), what="a line"
        )
    finally:
        lasting.terminate()
        said = lasting.communicate(timeout=60)[1]
    assert said.decode() == "the daemon went away; waiting until it is there again\n"


def _read(process: "subprocess.Popen[bytes]", wanted: bytes) -> bool:
    """Whether a line with that has come by now."""
    assert process.stdout is not None
    while select.select([process.stdout], [], [], 0.1)[0]:
        line = process.stdout.readline()
        assert line, "it ended"
        if wanted in line:
            return True
    return False
