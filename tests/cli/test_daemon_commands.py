import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest

from cdmd import __version__
from cdmd.cli import daemon_run
from cdmd.cli.daemon_commands import ENTRIES, cli, main
from cdmd.cli.leaving import leave_within
from cdmd.kit.serving import bind
from cdmd.store.files import StateDirectory
from cdmd.testing import DaemonProcess

WEBHOOK = '[connectors.shop]\ntype = "webhook"\nverify = "none"\n'
HAPPENED = '{"id":"e1","type":"order.paid","identifiers":{"email":"joe@example.com"}}'


class Said(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def cdmd(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Said]]:
    """Runs a command in this process, which must not be ended by it."""
    for name in ("CDMD_CONFIG", "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "NOTIFY_SOCKET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(daemon_run, "leave_within", lambda *_, **__: None)
    mask, switch = os.umask(0o077), sys.getswitchinterval()

    def call(*arguments: str) -> Said:
        status = main(arguments)
        out, err = capfd.readouterr()
        return Said(status, out, err)

    yield call
    os.umask(mask)
    sys.setswitchinterval(switch)
    gc.unfreeze()


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        head = "" if "[daemon]" in text else f'[daemon]\nstate_dir = "{tmp_path}/state"\n'
        head += "" if "[http]" in text else '[http]\nlisten = ["127.0.0.1:0"]\n'
        head += "" if "[control]" in text else f'[control]\nsocket = "{tmp_path}/c.sock"\n'
        file = tmp_path / "cdmd.toml"
        file.write_text(head + text)
        file.chmod(0o600)
        return str(file)

    return write


# ---- check -----------------------------------------------------------------------------------------------------------


def test_check_reports_every_mistake_and_ends_with_6(cdmd: Any, config: Any) -> None:
    file = config(WEBHOOK.replace("none", "nonsens") + 'acept = ["a"]\n[queue]\nmax_events = 0\n')
    said = cdmd("check", "--config", file)
    assert said.status == 6
    assert said.out == ""
    lines = said.err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{file}: ") for line in lines)
    assert any("did you mean" in line for line in lines)
    document = json.loads(cdmd("check", "--config", file, "--json").out)
    assert (document["valid"], len(document["problems"])) == (False, 3)


def test_check_finds_two_connectors_on_one_path(cdmd: Any, config: Any) -> None:
    text = WEBHOOK + WEBHOOK.replace("shop", "store") + 'path = "/hooks/shop"\n'
    file = config(text)
    said = cdmd("check", "--config", file)
    assert said.status == 6
    assert said.err == f"{file}: connectors.store.path: /hooks/shop is already answered by connectors.shop\n"


def test_several_applications_may_answer_the_same_paths_and_no_other_connector_may(cdmd: Any, config: Any) -> None:
    text = "".join(f'[connectors.{name}]\ntype = "application"\nwrite_keys = ["env:{name}"]\n' for name in ("HOME", "PATH"))
    assert cdmd("check", "--config", config(text)).status == 0
    said = cdmd("check", "--config", config(text + WEBHOOK + 'path = "/v1/track"\n'))
    assert said.status == 6
    assert "/v1/track is already answered by connectors." in said.err


def test_check_compiles_what_only_compiling_finds(cdmd: Any, config: Any) -> None:
    said = cdmd("check", "--config", config('[indicators.a]\non = "x"\ncompute = "sum"\nvalue = "{"\n'))
    assert said.status == 6


def test_check_warns_of_plugins_that_are_not_there(cdmd: Any, config: Any) -> None:
    file = config(WEBHOOK + '[plugins.nosuch]\n[plugins.builtni]\nenabled = "no"\n')
    said = cdmd("check", "--config", file)
    assert said == (
        0,
        f"{file}: 1 connector, no mistakes, 2 warnings\n",
        (
            "warning: plugins.builtni: it is configured but not installed (did you mean builtin?)\n"
            "warning: plugins.nosuch: it is configured but not installed\n"
        ),
    )


def test_check_says_what_it_looked_at_unless_it_is_to_be_quiet(cdmd: Any, config: Any) -> None:
    file = config(WEBHOOK)
    assert cdmd("check", "--config", file)[:2] == (0, f"{file}: 1 connector, no mistakes\n")
    assert cdmd("check", "--config", file, "--quiet") == (0, "", "")
    target = '[targets.crm]\ntype = "webhook"\nurl = "https://crm.example/in"\nsign = false\nevents = ["order.*"]\n'
    assert cdmd("check", "--config", config(WEBHOOK + target)).out == f"{file}: 1 connector, 1 target, no mistakes\n"
    config(WEBHOOK)
    assert json.loads(cdmd("check", "--config", file, "--json").out) == {"valid": True, "problems": [], "warnings": []}


def test_check_warns_of_a_secret_that_stands_in_the_file(cdmd: Any, config: Any) -> None:
    file = config(WEBHOOK.replace("none", "bearer") + 'secrets = ["literal-secret-of-some-length"]\n')
    said = cdmd("check", "--config", file)
    assert said.status == 0
    assert "warning: " in said.err
    assert "literal-secret" not in said.err
    assert len(json.loads(cdmd("check", "--config", file, "--json").out)["warnings"]) == 1


def test_check_without_a_file_looks_at_the_defaults(cdmd: Any) -> None:
    assert cdmd("check").out == "embedded defaults: 1 connector, no mistakes\n"


# ---- run -------------------------------------------------------------------------------------------------------------


def stop_when_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = daemon_run._ready

    def then_stop(*arguments: Any) -> None:
        ready(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(daemon_run, "_ready", then_stop)


def test_run_without_configuration_says_where_it_is_and_how_to_send_a_first_event(
    cdmd: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stop_when_ready(monkeypatch)
    monkeypatch.setattr(sys, "argv", ["/bin/cdmd", "run"])
    asked: list[str] = []

    def bind_elsewhere(address: str) -> socket.socket:
        """Something else on this machine may have the default port."""
        asked.append(address)
        return bind(address.replace(":8787", ":0"))

    monkeypatch.setattr("cdmd.daemon.listening.bind", bind_elsewhere)
    said = cdmd("run")
    assert said.status == 0
    assert asked[0] == "127.0.0.1:8787"
    lines = said.out.splitlines()
    assert lines[0].startswith("Listening on http://127.0.0.1:")
    assert lines[1:3] == [
        f"Control socket {tmp_path}/run/cdmd/control.sock",
        f"State in {tmp_path}/xdg/cdmd",
    ]
    assert f"$(cat '{tmp_path}/xdg/cdmd/inbox.token')" in said.out
    assert "profile show email:joe@example.com" in said.out
    assert lines[-1] == "cdmd is ready; stop it with Ctrl-C"
    assert (tmp_path / "xdg" / "cdmd").stat().st_mode & 0o777 == 0o700
    assert "Nothing comes in" not in said.out


def test_run_with_no_connector_says_that_nothing_comes_in_and_how_to_set_one_up(
    cdmd: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stop_when_ready(monkeypatch)
    file = tmp_path / "cdmd.toml"
    file.write_text('[http]\nlisten = ["127.0.0.1:0"]\n')
    assert "Nothing comes in: no connector is configured yet. `cdmd library` lists" in cdmd("run", "--config", str(file)).out


def test_run_with_a_configuration_offers_no_example_and_shows_its_warnings(
    cdmd: Any, config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_when_ready(monkeypatch)
    said = cdmd("run", "--config", config(WEBHOOK.replace("none", "bearer") + 'secrets = ["literal-secret-of-some-length"]\n'))
    assert said.status == 0
    assert "curl" not in said.out
    assert said.err.startswith("warning: ")


@pytest.mark.parametrize(
    ("text", "status", "sentence"),
    [
        ('[http]\nlisten = ["127.0.0.1:{port}"]\n', 1, "cannot listen on 127.0.0.1:{port}: Address already in use"),
        ('[control]\nsocket = "/tmp/{long}"\n', 6, "is longer than 107 bytes"),
        ('[daemon]\nstate_dir = "/dev/null/state"\n', 1, "the state directory /dev/null/state cannot be used: Not a directory"),
        ('[queue]\nmax_events = 0\n', 6, "queue.max_events"),
    ],
)  # fmt: skip
def test_run_refuses_with_one_plain_sentence(
    cdmd: Any, config: Any, tmp_path: Path, text: str, status: int, sentence: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        fields = {"{port}": str(taken.getsockname()[1]), "{long}": "x" * 120}
        for name, value in fields.items():
            text, sentence = text.replace(name, value), sentence.replace(name, value)
        said = cdmd("run", "--config", config(text))
    assert (said.status, said.out) == (status, "")
    assert all(line.startswith(("cdmd: ", f"{tmp_path}/")) for line in said.err.splitlines())
    assert len(said.err.splitlines()) == 1
    assert sentence in said.err


def test_run_refuses_a_directory_that_is_in_use_and_a_damaged_one(cdmd: Any, config: Any, tmp_path: Path) -> None:
    file = config(WEBHOOK)
    with StateDirectory(tmp_path / "state").held():
        said = cdmd("run", "--config", file)
    assert said.status == 1
    assert "is used by another cdmd (process" in said.err
    (tmp_path / "state" / "store.db").write_bytes(b"nonsense" * 1000)
    (tmp_path / "state" / "keys").mkdir(exist_ok=True)
    (tmp_path / "state" / "keys" / "digest.key").write_bytes(bytes(32))
    said = cdmd("run", "--config", file)
    assert said.status == 1
    assert "is damaged" in said.err
    assert "Traceback" not in said.err


def test_a_hung_thread_does_not_keep_the_process() -> None:
    script = (
        "import threading; from cdmd.cli.leaving import leave_within\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "print('out')\n"
        "leave_within(0.05, status=7, before=lambda: print('logs'))\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (7, "out\nlogs\n")


def test_leaving_writes_what_waits_first() -> None:
    said: list[object] = []

    def fail() -> None:
        try:
            {}.pop("nothing")
        finally:
            said.append(daemon_run._status())

    left = threading.Event()
    leave_within(0, status=0, before=lambda: said.append("logs"), leave=lambda status: (said.append(status), left.set()))
    assert left.wait(60)
    assert said == ["logs", 0]
    assert daemon_run._status() == 0
    with pytest.raises(KeyError):
        fail()
    assert said[-1] == 1


# ---- verify and restore ------------------------------------------------------------------------------------------------


def test_a_backup_of_a_running_daemon_is_restored_elsewhere_with_the_same_profiles(cdmd: Any, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    backup = tmp_path / "backup.tar"
    with DaemonProcess(tmp_path / "one", WEBHOOK) as daemon:
        sent = subprocess.run(
            ["curl", "-s", "-d", HAPPENED, "-H", "content-type: application/json", f"{daemon.url}/hooks/shop"],
            capture_output=True,
            timeout=60,
        )
        assert json.loads(sent.stdout) == {"accepted": 1, "filtered": 0}
        while daemon.ask("status")["journal"]["backlog"]:
            pass
        before = daemon.ask("profile", "show", "email:joe@example.com")
        daemon.cdmctl("backup", str(backup))
        assert daemon.stop() == 0
    restored = tmp_path / "two" / "state"
    done = cdmd("restore", str(backup), "--state-dir", str(restored), "--json")
    assert f"put your copy at {restored}/keys/digest.key before the daemon starts" in done.err
    said = json.loads(done.out)
    assert (said["state_dir"], said["head"], said["position"]) == (str(restored), 1, 1)
    assert cdmd("verify", "--state-dir", str(restored))[:2] == (0, f"{restored}: journal and store are whole\n")
    (restored / "keys" / "digest.key").write_bytes((tmp_path / "one" / "state" / "keys" / "digest.key").read_bytes())
    with DaemonProcess(tmp_path / "two", WEBHOOK) as daemon:
        assert daemon.ask("profile", "show", "email:joe@example.com") == before


def test_restore_keeps_what_was_there_and_refuses_what_is_no_backup(cdmd: Any, config: Any, tmp_path: Path) -> None:
    file = config(WEBHOOK)
    (tmp_path / "no.tar").write_bytes(b"nonsense")
    said = cdmd("restore", str(tmp_path / "no.tar"), "--config", file)
    assert said.status == 1
    assert "cannot be read" in said.err
    assert cdmd("restore", str(tmp_path / "missing.tar")).status == 2


def test_restore_takes_along_who_was_suppressed_here_and_a_list_made_with_the_same_key(
    cdmd: Any, config: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file, backup, listed = config(WEBHOOK), str(tmp_path / "b.tar"), tmp_path / "list.jsonl"
    with DaemonProcess(tmp_path, WEBHOOK) as daemon:
        daemon.cdmctl("backup", backup)
        daemon.cdmctl("profile", "suppress", "email:joe@example.com")
        listed.write_text(daemon.cdmctl("suppressions", "export").stdout)
        assert daemon.stop() == 0
    said = cdmd("restore", backup, "--config", file)
    assert said.out.endswith(
        "in force from here, and applied to it before the daemon listens: a suppression list of 2 digests\n"
    )
    aside = tmp_path / "state" / "before-restore-2"
    aside.mkdir()
    (tmp_path / "state" / "journal.db").rename(aside / "journal.db")  # the next one is cut off, and given again
    said = cdmd("restore", backup, "--config", file, "--json")
    assert (json.loads(said.out)["suppressions"], said.err) == (2, "")
    (tmp_path / "state" / "journal.db").write_bytes(b"no database at all, and long enough to be none" * 100)
    said = cdmd("restore", backup, "--config", file, "--json")
    assert json.loads(said.out)["suppressions"] == 0
    assert "warning: the journal that was here is gone or cannot be read" in said.err
    said = cdmd("restore", backup, "--config", file, "--suppressions", str(listed), "--json")
    assert json.loads(said.out)["suppressions"] == 2
    (tmp_path / "state" / "keys" / "digest.key").write_bytes(b"x" * 32)
    said = cdmd("restore", backup, "--config", file, "--suppressions", str(listed))
    assert said.status == 1
    assert "was made with another digest key" in said.err
    listed.write_text("joe@example.com")
    said = cdmd("restore", backup, "--config", file, "--suppressions", str(listed))
    assert said.status == 2
    assert f"{listed}: line 1 is none of a suppression list" in said.err


def test_verify_names_damage_and_ends_with_1(cdmd: Any, config: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = config(WEBHOOK)
    said = cdmd("verify", "--config", file)
    assert (said.status, said.err) == (1, f"cdmd: there is no journal and no store in {tmp_path}/state\n")
    stop_when_ready(monkeypatch)
    assert cdmd("run", "--config", file).status == 0
    assert json.loads(cdmd("verify", "--config", file, "--json").out) == {"whole": True, "problems": []}
    (tmp_path / "state" / "mark").unlink()
    with (tmp_path / "state" / "store.db").open("r+b") as store:
        store.seek(8192)
        store.write(b"\xff" * 4096)
    said = cdmd("verify", "--config", file)
    assert said.status == 1
    assert " found; put a backup" in said.out
    with StateDirectory(tmp_path / "state").held():
        assert "is used by another cdmd" in cdmd("verify", "--config", file).err


def test_a_store_on_a_server_is_not_looked_for_here_nor_restored_here(cdmd: Any, config: Any, tmp_path: Path) -> None:
    state, file = tmp_path / "state", tmp_path / "backup.tar"
    with DaemonProcess(tmp_path, WEBHOOK) as daemon:
        daemon.cdmctl("backup", str(file))
        assert daemon.stop() == 0
    (state / "store.db").unlink()
    (state / "store.elsewhere").touch()
    said = cdmd("verify", "--state-dir", str(state))
    assert (said.status, said.out) == (0, f"{state}: the journal is whole\n")
    assert "the store lies on a server" in said.err
    assert "restore it there" in cdmd("restore", str(file), "--state-dir", str(state)).err


def test_verify_of_a_named_directory_heeds_the_configuration_that_is_about_it(
    cdmd: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state, file = tmp_path / "state", tmp_path / "cdmd.toml"
    with DaemonProcess(tmp_path, WEBHOOK) as daemon:
        assert daemon.stop() == 0
    (state / "journal.db").unlink()
    file.write_text(f'[daemon]\nstate_dir = "{state}"\n[journal]\nurl = "nats://127.0.0.1:4222"\n{WEBHOOK}')
    monkeypatch.setenv("CDMD_CONFIG", str(file))
    said = cdmd("verify", "--state-dir", str(state))
    assert (said.status, said.out) == (0, f"{state}: the store is whole\n")
    assert "the journal lies at nats://127.0.0.1:4222" in said.err
    assert cdmd("verify", "--state-dir", str(state), "--config", str(file)).status == 0
    file.write_text(WEBHOOK)
    assert cdmd("verify", "--state-dir", str(state)).status == 1, "this one is about another directory"
    file.write_text("= ]")
    assert cdmd("verify", "--state-dir", str(state)).status == 1, "and this one about none"


# ---- the group ---------------------------------------------------------------------------------------------------------


def test_version_is_told_in_two_ways(cdmd: Any) -> None:
    assert cdmd("version").out == f"cdmd {__version__}\n"
    assert cdmd("--version").out == f"cdmd {__version__}\n"
    assert json.loads(cdmd("version", "--json").out) == {"version": __version__}


@pytest.mark.parametrize("name", ["run", "check", "try", "verify", "restore", "version"])
def test_every_command_has_help_with_an_example_and_the_line_of_the_list(cdmd: Any, name: str) -> None:
    with click.Context(cli) as context:
        command = cli.get_command(context, name)
    assert command is not None
    help_ = cdmd(name, "--help").out
    assert f"cdmd {name}" in help_.partition("\n")[2]
    assert ENTRIES[name].help.split()[0] in help_


def test_help_and_version_import_nothing_of_the_daemon() -> None:
    for arguments in (["--help"], ["version"]):
        script = f"""if True:
            import sys
            from cdmd.cli.daemon_commands import main
            main({arguments})
            heavy = {{"anyio", "msgspec", "structlog", "httpcore", "uvicorn", "cdmd.daemon", "cdmd.config", "jmespath"}}
            print(sorted(heavy & set(sys.modules)))
        """
        said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
        assert said.stdout.splitlines()[-1] == "[]"
