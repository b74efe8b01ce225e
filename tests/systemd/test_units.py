import json
import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
UNITS = ROOT / "systemd"
NAMES = ["cdmd.service", "cdmd-http.socket", "cdmd-control.socket"]


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units, with executables that exist."""
    for name in NAMES:
        text = (UNITS / name).read_text()
        text = text.replace("/usr/bin/cdmd ", "/bin/true ").replace("/usr/bin/cdmctl ", "/bin/true ")
        (tmp_path / name).write_text(text)
    return tmp_path


def test_systemd_finds_nothing_to_say_about_the_units(installed: Path) -> None:
    # its exit status is 0 even for a key that does not exist: only what it prints tells
    done = run(tool("systemd-analyze"), "verify", *[installed / name for name in NAMES])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_systemd_does_speak_up_about_a_misspelt_key(installed: Path) -> None:
    unit = installed / "cdmd.service"
    unit.write_text(unit.read_text().replace("ProtectSystem=", "ProtectSytem="))
    assert "ProtectSytem" in run(tool("systemd-analyze"), "verify", unit).stderr


def test_the_service_is_exposed_no_more_than_one_and_a_half() -> None:
    done = run(tool("systemd-analyze"), "security", "--offline=true", "--threshold=15", "--no-pager", UNITS / "cdmd.service")
    assert done.returncode == 0, done.stdout[-300:]


def test_the_commands_of_the_service_are_ours() -> None:
    text = (UNITS / "cdmd.service").read_text()
    assert "ExecStart=/usr/bin/cdmd run " in text
    assert "ExecStartPre=/usr/bin/cdmd check " in text
    assert text.count("/usr/bin/cdmctl") == 1
    assert "Restart=always" in text


def test_the_service_may_use_its_own_control_socket_for_a_reload() -> None:
    user = re.search(r"^User=(\w+)$", (UNITS / "cdmd.service").read_text(), re.MULTILINE)
    assert user is not None
    assert f"SocketUser={user[1]}\n" in (UNITS / "cdmd-control.socket").read_text()


def test_user_group_and_directories_are_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    users = run(tool("systemd-sysusers"), f"--root={tmp_path}", UNITS / "sysusers.d" / "cdmd.conf")
    assert users.returncode == 0, users.stderr
    passwd, group = ((tmp_path / "etc" / name).read_text() for name in ("passwd", "group"))
    assert "cdmd:x:" in passwd
    assert "cdmadm:x:" in group
    if os.geteuid() != 0:
        pytest.skip("only root can give directories away")
    made = run(tool("systemd-tmpfiles"), f"--root={tmp_path}", "--create", UNITS / "tmpfiles.d" / "cdmd.conf")
    assert (made.returncode, made.stderr) == (0, "")
    uid = int(next(line for line in passwd.splitlines() if line.startswith("cdmd:")).split(":")[2])
    for path, mode, owner in (("run/cdmd", 0o755, uid), ("var/lib/cdmd", 0o700, uid), ("etc/cdmd/conf.d", 0o750, 0)):
        status = (tmp_path / path).stat()
        assert (status.st_mode & 0o777, status.st_uid) == (mode, owner)


CHILD = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from cdmd.kit.systemd import Systemd
found = Systemd(os.environ, pid=os.getpid()).sockets()
report = json.dumps({name: [s.getsockname() for s in each] for name, each in sorted(found.items())}, default=str)
listener = found["control"][0]
listener.setblocking(True)
connection, _ = listener.accept()
connection.sendall(report.encode())
connection.close()
"""


def free_port(family: socket.AddressFamily, host: str) -> int:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def activated(tmp_path: Path) -> Iterator[Path]:
    """The path of a control socket whose first connection starts a child that reports its sockets by name."""
    (tmp_path / "child.py").write_text(textwrap.dedent(CHILD))
    control = tmp_path / "control.sock"
    four, six = free_port(socket.AF_INET, "127.0.0.1"), free_port(socket.AF_INET6, "::1")
    listen = ["-l", f"127.0.0.1:{four}", "-l", str(control), "-l", f"[::1]:{six}", "--fdname=http:control:http"]
    child = [sys.executable, str(tmp_path / "child.py"), str(ROOT)]
    with subprocess.Popen([tool("systemd-socket-activate"), *listen, *child], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for _ in range(3):
            assert "Listening on" in process.stderr.readline()
        yield control
        process.kill()


def test_inherited_sockets_are_found_by_name(activated: Path) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(activated))
        report = b"".join(iter(lambda: connection.recv(4096), b""))
    found = json.loads(report)
    assert found["control"] == [str(activated)]
    assert sorted(address[0] for address in found["http"]) == ["127.0.0.1", "::1"]
