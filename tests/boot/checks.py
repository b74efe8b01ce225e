"""What is looked at on the booted machine, in order; each function is one promise of ``systemd/README.md``."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.boot.service import CONFIGURATION, SECRET, UNITS, Service

HERE: Final = Path(__file__).parent
_OPERATORS: Final = (HERE.parents[1] / "systemd/README.md").read_text()
RUNBOOK: Final = _OPERATORS.partition("\n## Backups, and the way back\n")[2].partition("\n## ")[0]
_ITS_OWN: Final = (
    "Exec",
    "Type",
    "Notify",
    "Sockets",
    "Watchdog",
    "Restart",
    "RuntimeDirectory",
    "Also",
    "WantedBy",
    "[Install]",
)
"""How lines of the unit begin that are not its hardening."""

_WATCHDOG: Final = "[Service]\nWatchdogSec=3\nTimeoutAbortSec=5\n"


def the_package_installs_and_the_service_is_up(service: Service) -> None:
    service.machine.run("dpkg", "-i", service.package)
    service.until_active()
    for unit in UNITS:
        assert service.machine.says("systemctl", "is-enabled", unit) == "enabled", unit
    assert service.machine.says("systemctl", "--failed", "--no-legend") == ""


def it_told_systemd_that_it_is_ready_and_says_how_it_is(service: Service) -> None:
    assert (service.shows("Type"), service.shows("NotifyAccess")) == ("notify", "main")
    service.machine.until(lambda: service.shows("StatusText") == "running, 0 connectors", what="the status line")
    assert service.machine.says("cdmctl", "version", "--json")


def secrets_come_as_credentials(service: Service) -> None:
    service.machine.write("/etc/credstore/cdmd.shop", SECRET, mode=0o600)
    service.drop_in("credentials", "[Service]\nLoadCredential=shop:/etc/credstore/cdmd.shop\n")
    service.configure(CONFIGURATION)
    service.machine.run("systemctl", "restart", "cdmd")
    service.until_active()
    assert service.signed(SECRET, "evt-1") == 200
    assert service.signed("another secret", "evt-2") == 401
    assert service.readable_by("cdmd", "/etc/credstore/cdmd.shop") is False


def the_sockets_came_by_their_names(service: Service) -> None:
    names = service.machine.says("sh", "-c", f"tr '\\0' '\\n' < /proc/{service.pid()}/environ | grep LISTEN_FDNAMES")
    assert set(names.partition("=")[2].split(":")) == {"http", "control"}
    mode = service.machine.says("stat", "-c", "%a %U %G", "/run/cdmd/control.sock")
    assert mode == "660 cdmd cdmadm", mode


def only_members_of_cdmadm_may_command(service: Service) -> None:
    for name in ("alice", "bob"):
        service.machine.run("useradd", "--create-home", name)
    service.machine.run("usermod", "-aG", "cdmadm", "alice")
    assert json.loads(service.as_user("alice", "cdmctl", "status", "--json").stdout)["state"] == "running"
    assert service.as_user("alice", "cdmctl", "pause", "shop").returncode == 0
    assert service.as_user("alice", "cdmctl", "resume", "shop").returncode == 0
    refused = service.as_user("bob", "cdmctl", "status")
    assert refused.returncode == 5, refused
    assert "join the group" in refused.stderr


def a_reload_returns_with_its_verdict(service: Service) -> None:
    before = service.pid()
    service.configure(CONFIGURATION + '[connectors.second]\ntype = "webhook"\nverify = "none"\n')
    service.machine.run("systemctl", "reload", "cdmd")
    assert service.connectors() == {"shop", "open", "second"}
    service.configure(CONFIGURATION + '[connectors.third]\ntype = "webhok"\n')
    refused = service.machine.run("systemctl", "reload", "cdmd", check=False)
    assert refused.returncode != 0
    assert "webhok" in service.journal(), "the log says what is wrong with it"
    assert service.connectors() == {"shop", "open", "second"}, "the old configuration goes on"
    assert service.shows("ActiveState") == "active"
    service.configure(CONFIGURATION)
    service.machine.run("systemctl", "reload", "cdmd")
    assert (service.pid(), service.connectors()) == (before, {"shop", "open"})


def a_hang_is_ended_by_the_watchdog(service: Service) -> None:
    service.drop_in("watchdog", _WATCHDOG)
    service.machine.run("systemctl", "restart", "cdmd")
    service.until_active()
    service.machine.run("sleep", "7")
    restarts, before = int(service.shows("NRestarts")), service.pid()
    assert restarts == 0, "a daemon that is well answers the watchdog"
    service.machine.run("kill", "-STOP", str(before))
    service.machine.until(lambda: int(service.shows("NRestarts")) > restarts, seconds=30, what="the watchdog's restart")
    service.until_active()
    assert "Watchdog timeout" in service.machine.says("journalctl", "-u", "cdmd", "-o", "cat", "--no-pager")
    assert service.pid() != before
    service.drop_in("watchdog", None)


def a_killed_daemon_comes_back_with_all_that_it_acknowledged(service: Service) -> None:
    with hammering(service) as told:
        before, restarts = service.pid(), int(service.shows("NRestarts"))
        service.machine.run("kill", "-KILL", str(before))
        service.machine.until(lambda: int(service.shows("NRestarts")) > restarts, what="the restart")
        service.until_active()
    assert service.pid() != before
    assert told["refused"] == 0, told
    service.applied_all()
    assert service.counted("hammer") >= told["acknowledged"], "a request that was under way may be counted and not acknowledged"


def a_restart_refuses_no_connection_and_loses_nothing(service: Service) -> None:
    with hammering(service) as told:
        before = service.pid()
        service.machine.run("systemctl", "restart", "cdmd")
        service.until_active()
    assert service.pid() != before
    all_were_answered(told)


def it_can_do_no_more_than_it_needs(service: Service) -> None:
    unit = service.machine.says("cat", "/usr/lib/systemd/system/cdmd.service")
    probe = "\n".join(line for line in unit.splitlines() if not line.startswith(_ITS_OWN)) + "\n"
    run = "Type=oneshot\nExecStart=/usr/bin/python3 /usr/local/lib/probe.py /var/lib/cdmd\n"
    run += "StandardOutput=truncate:/tmp/probe.out\n"
    service.machine.write("/etc/systemd/system/probe.service", probe.replace("[Service]", f"[Service]\n{run}", 1))
    service.machine.write("/usr/local/lib/probe.py", (HERE / "probe.py").read_text())
    service.machine.run("systemctl", "daemon-reload")
    service.machine.run("systemctl", "start", "probe")
    told = json.loads(service.machine.says("cat", "/tmp/probe.out"))
    allowed = {name for name, how in told.items() if how == "done"}
    assert allowed == {"write into the state directory", "connect by TCP"}, told
    assert told["write into /etc"] == told["write into /usr"] == "Read-only file system"
    lines = service.machine.says("cat", f"/proc/{service.pid()}/status").splitlines()
    status = dict(line.partition(":\t")[::2] for line in lines)
    held = {name: status[name].strip() for name in ("NoNewPrivs", "Seccomp", "CapEff", "CapBnd", "CapAmb")}
    nothing = "0" * 16
    assert held == {"NoNewPrivs": "1", "Seccomp": "2", "CapEff": nothing, "CapBnd": nothing, "CapAmb": nothing}
    assert service.machine.says("ps", "-o", "user=", "-p", str(service.pid())) == "cdmd"
    said = service.machine.says("systemd-analyze", "security", "cdmd.service", "--no-pager").splitlines()[-1]
    assert float(re.findall(r"\d+\.\d+", said)[0]) <= 1.5, said


def what_it_keeps_is_nobody_elses(service: Service) -> None:
    listed = service.machine.says("find", "/var/lib/cdmd", "-printf", "%m %u %y %p\n").splitlines()
    assert listed
    wrong = [line for line in listed if not line.startswith(("700 cdmd d", "600 cdmd f"))]
    assert not wrong, wrong


def the_log_is_found_by_its_fields(service: Service) -> None:
    lines = service.machine.says("journalctl", "-u", "cdmd", "CDMD_CONNECTOR=shop", "-o", "json", "--no-pager").splitlines()
    assert lines
    assert {json.loads(line)["CDMD_CONNECTOR"] for line in lines} == {"shop"}


def it_stops_gracefully_and_the_sockets_stay(service: Service) -> None:
    acknowledged = service.counted("hammer")
    with service.machine.within(10, "stopping"):
        service.machine.run("systemctl", "stop", "cdmd.service")
    ended = [service.shows(name) for name in ("Result", "ExecMainStatus", "ActiveState")]
    assert ended == ["success", "0", "inactive"]
    assert service.machine.says("systemctl", "is-active", "cdmd-http.socket") == "active"
    assert service.signed(SECRET, "evt-after-stop") == 200, "the connection starts it again"
    service.until_active()
    assert service.counted("hammer") == acknowledged


def an_upgrade_keeps_state_and_configuration_and_refuses_no_connection(service: Service) -> None:
    events, before = service.counted("hammer"), service.pid()
    with hammering(service) as told:
        service.machine.run("dpkg", "-i", service.newer())
        service.until_active()
    assert service.pid() != before, "the new version runs"
    assert service.machine.says("dpkg-query", "-W", "-f", "${Version}", "cdmd").endswith("-2")
    all_were_answered(told)
    service.applied_all()
    assert service.counted("hammer") >= events
    assert service.connectors() == {"shop", "open"}, "the configuration that was edited is still there"


def it_comes_up_by_itself_when_the_machine_boots(service: Service) -> None:
    events = service.total()
    service.machine.off()
    service.machine.boot()
    service.until_active()
    assert service.machine.says("systemctl", "is-system-running") == "running"
    assert service.total() == events
    assert service.signed(SECRET, "evt-after-boot") == 200


def its_runbook_brings_everything_back_on_a_machine_that_lost_it(service: Service) -> None:
    """Every line of systemd/README.md as it stands there, the configuration gone, too."""
    daily, back = re.findall(r"```sh\n(.*?)```", RUNBOOK, re.DOTALL)
    service.applied_all()
    events = service.total()
    service.machine.run("mkdir", "-p", "/backup")
    service.machine.run("sh", "-ec", daily)
    service.machine.run("systemctl", "stop", "cdmd.service")
    service.machine.run("sh", "-c", "rm -rf /var/lib/cdmd/* /etc/cdmd/*")
    done = service.machine.run("sh", "-ec", back, check=False)
    assert done.returncode == 0, done.stderr
    service.until_active()
    assert service.total() == events
    assert service.connectors() == {"shop", "open"}
    assert service.signed(SECRET, "evt-after-boot") == 200, "and it is a repeat"
    service.applied_all()
    assert service.total() == events


def removing_it_keeps_what_it_knew_and_purging_does_not(service: Service) -> None:
    service.machine.run("dpkg", "-r", "cdmd")
    assert service.machine.run("systemctl", "is-active", "cdmd", "cdmd-http.socket", check=False).returncode != 0
    assert service.machine.has("/var/lib/cdmd/store.db")
    assert service.machine.has("/etc/cdmd/cdmd.toml")
    assert not service.machine.has("/opt/cdmd")
    service.machine.run("dpkg", "-P", "cdmd")
    gone = ("/var/lib/cdmd", "/etc/cdmd", "/run/cdmd", "/opt/cdmd", "/usr/bin/cdmd", "/usr/lib/systemd/system/cdmd.service")
    assert not [path for path in gone if service.machine.has(path)]
    assert service.machine.says("systemctl", "--failed", "--no-legend") == ""


def all_were_answered(told: dict[str, Any]) -> None:
    """Nobody was refused a connection; each was acknowledged, or on a slow machine told to come again (503)."""
    later = told["answers"].get("503", 0)
    assert (told["refused"], set(told["answers"]) - {"503"}) == (0, set()), told
    assert told["acknowledged"] + later == told["sent"], told
    assert later < told["sent"] / 10, told


@contextmanager
def hammering(service: Service) -> Iterator[dict[str, Any]]:
    """Events from beside the machine for as long as it lasts; what became of them is in the mapping afterwards."""
    told: dict[str, Any] = {}
    url = "http://127.0.0.1:8787/hooks/open"
    process: subprocess.Popen[str] = service.machine.beside("python3", str(HERE / "hammer.py"), url)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        assert process.stdout.readline() == "begun\n"
        yield told
    finally:
        process.stdin.close()
        said = process.stdout.read()
        process.wait(90)
        told |= json.loads(said.splitlines()[-1])


CHECKS: Final = (
    the_package_installs_and_the_service_is_up,
    it_told_systemd_that_it_is_ready_and_says_how_it_is,
    secrets_come_as_credentials,
    the_sockets_came_by_their_names,
    only_members_of_cdmadm_may_command,
    a_reload_returns_with_its_verdict,
    a_hang_is_ended_by_the_watchdog,
    a_killed_daemon_comes_back_with_all_that_it_acknowledged,
    a_restart_refuses_no_connection_and_loses_nothing,
    it_can_do_no_more_than_it_needs,
    what_it_keeps_is_nobody_elses,
    the_log_is_found_by_its_fields,
    it_stops_gracefully_and_the_sockets_stay,
    an_upgrade_keeps_state_and_configuration_and_refuses_no_connection,
    it_comes_up_by_itself_when_the_machine_boots,
    its_runbook_brings_everything_back_on_a_machine_that_lost_it,
    removing_it_keeps_what_it_knew_and_purging_does_not,
)
