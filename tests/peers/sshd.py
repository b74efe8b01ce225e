"""OpenSSH's own server on loopback, with keys of its own: started for a test, ended by its process id."""

import getpass
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import NamedTuple

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
SFTP_SERVER = Path("/usr/lib/openssh/sftp-server")
MISSING = None if Path(SSHD).exists() and SFTP_SERVER.exists() else "sshd is not installed (apt-get install openssh-server)"


class Sshd(NamedTuple):
    """A running server: where, who may come in with which key, and the fingerprints of its own keys by kind."""

    port: int
    username: str
    private_key: bytes
    fingerprints: dict[str, str]
    pid: int

    @property
    def fingerprint(self) -> str:
        """Of the key that clients prefer."""
        return self.fingerprints["ed25519"]

    @property
    def environment(self) -> dict[str, str]:
        """What ``connector`` refers to."""
        return {"KEY": self.private_key.decode()}

    def connector(self, area: Path, *, name: str = "sup", port: int | None = None, pinned: bool = True) -> str:
        """The beginning of the table of a connector that watches ``area``; keys of its own may follow.

        ``port``: another one that leads here; without ``pinned`` it trusts no host key.
        """
        head = {
            "type": "sftp", "host": "127.0.0.1", "port": port or self.port, "username": self.username,
            "private_key": "env:KEY", "path": str(area),
        }  # fmt: skip
        head |= {"host_key": self.fingerprint} if pinned else {}
        return f"\n[connectors.{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in head.items())


def make_key(file: Path, kind: str = "ed25519", *, passphrase: str = "") -> Path:
    """A new key pair; ``file`` is the private one."""
    command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", str(file)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return file


def fingerprint(public: Path) -> str:
    """As ``ssh-keygen -lf`` shows it."""
    return subprocess.run(["ssh-keygen", "-lf", str(public)], check=True, capture_output=True, text=True).stdout.split()[1]


@contextmanager
def sshd(folder: Path, *, kinds: Sequence[str] = ("ed25519", "rsa", "ecdsa"), options: Sequence[str] = ()) -> Iterator[Sshd]:
    """The server, ready; everything of it lies below ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    hosts = [make_key(folder / f"host_{kind}", kind) for kind in kinds]
    user = make_key(folder / "user")
    (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
    port = free_port()
    (folder / "config").write_text(
        "\n".join([
            f"Port {port}", "ListenAddress 127.0.0.1", *(f"HostKey {host}" for host in hosts), f"PidFile {folder}/pid",
            f"AuthorizedKeysFile {folder}/authorized", "StrictModes no", "UsePAM no", "PasswordAuthentication no",
            "KbdInteractiveAuthentication no", "PermitRootLogin prohibit-password", "UseDNS no", "LogLevel ERROR",
            "MaxStartups 100:30:200", "MaxSessions 50", f"Subsystem sftp {SFTP_SERVER}", *options, "",
        ])
    )  # fmt: skip
    if Path("/run").exists() and getpass.getuser() == "root":
        Path("/run/sshd").mkdir(exist_ok=True)  # where it separates privileges
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "config")], stdin=subprocess.DEVNULL, stderr=log)
    try:
        wait_for(port, process)
        found = {kind: fingerprint(folder / f"host_{kind}.pub") for kind in kinds}
        yield Sshd(port, getpass.getuser(), user.read_bytes(), found, process.pid)
    finally:
        process.terminate()
        process.wait(60)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Return once somebody listens there."""
    until = monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None, "sshd ended"
            if monotonic() > until:
                raise TimeoutError("sshd does not listen") from None
            threading.Event().wait(0.05)
        else:
            return
