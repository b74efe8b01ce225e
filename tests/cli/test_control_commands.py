"""``cdmctl`` against a real socket: what it prints where, and how it ends."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from cdmd.cli.control_commands import cli
from cdmd.cli.running import run
from cdmd.control.protocol import ConnectorRow, ReloadReport, ReloadRow
from cdmd.errors import ConfigInvalid, Overloaded
from tests.cli.calling import Cdmctl
from tests.control.doubles import AT, Daemon, applied, dead, event, lines, people
from tests.control.outgoing import MemoryOutbox, outgoing

HOSTILE = "a\x1b[31m\x9b2J\u202eb\x07[red]c[/]"


def process(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cdmd.cli.control_commands", *arguments]


# ---- every command, for people and for programs --------------------------------------------------------------------

DELIVERY = outgoing(MemoryOutbox(), at=AT)[1]
DOCUMENTS = {
    "status": ["status"],
    "connectors": ["connectors"],
    "connectors list": ["connectors", "list"],
    "connectors forget": ["connectors", "forget", "gone", "--yes"],
    "pause": ["pause", "shop"],
    "resume": ["resume", "shop"],
    "reload": ["reload"],
    "events show": ["events", "show", "evt-1"],
    "profile show": ["profile", "show", "email:canary-joe@example.com"],
    "events of": ["events", "of", "email:canary-joe@example.com"],
    "profile explain": ["profile", "explain", "email:canary-joe@example.com", "email:canary-joe@example.com"],
    "audiences": ["audiences"],
    "audience changes": ["audience", "changes", "recent"],
    "dead-letters": ["dead-letters"],
    "dead-letters list": ["dead-letters", "list", "--connector", "shop"],
    "dead-letters show": ["dead-letters", "show", "2"],
    "dead-letters retry": ["dead-letters", "retry", "2"],
    "dead-letters discard": ["dead-letters", "discard", "--code", "mapping", "--yes"],
    "targets": ["targets"],
    "targets list": ["targets", "list"],
    "targets test": ["targets", "test", "crm"],
    "targets enable": ["targets", "enable", "crm"],
    "targets disable": ["targets", "disable", "crm"],
    "targets send": ["targets", "send", "nightly"],
    "targets forget": ["targets", "forget", "gone", "--yes"],
    "deliveries": ["deliveries"],
    "deliveries list": ["deliveries", "list", "--target", "crm", "--failed"],
    "deliveries attempts": ["deliveries", "attempts", "--outcome", "delivered"],
    "deliveries show": ["deliveries", "show", DELIVERY],
    "deliveries retry": ["deliveries", "retry", DELIVERY],
    "deliveries replay": ["deliveries", "replay", "crm", "--since", "2026-11-22T10:00:00Z", "--yes"],
    "plugins": ["plugins"],
    "config show": ["config", "show"],
    "secrets": ["secrets"],
    "log-level": ["log-level", "debug", "--for", "10m"],
    "backup": ["backup", "nowhere/backup"],
    "verify": ["verify"],
    "audit": ["audit"],
    "version": ["version"],
}
ON_STDERR = {
    "connectors forget",
    "pause",
    "resume",
    "dead-letters retry",
    "dead-letters discard",
    "targets enable",
    "targets disable",
    "targets send",
    "targets forget",
    "deliveries retry",
    "deliveries replay",
    "log-level",
    "backup",
    "verify",
}


@pytest.fixture
def full(daemon: Daemon) -> Daemon:
    applied(daemon.runtime)
    dead(daemon.runtime, 2)
    people(daemon, 3)
    outgoing(daemon.runtime.store.outbox, at=AT)
    return daemon


@pytest.mark.parametrize("command", DOCUMENTS)
def test_json_is_one_document_on_stdout_and_nothing_else(full: Daemon, cdmctl: Cdmctl, command: str) -> None:
    ended = cdmctl(*DOCUMENTS[command], "--json")
    assert ended.status == 0
    assert ended.json is not None
    assert ended.err == "" or command == "pause"


def test_a_connector_that_left_the_configuration_is_named_while_its_state_is_kept(daemon: Daemon, cdmctl: Cdmctl) -> None:
    daemon.runtime.left = ["till"]
    said = "till left the configuration, its state is kept; drop it with: cdmctl connectors forget till\n"
    assert cdmctl("connectors").err == said


@pytest.mark.parametrize("command", DOCUMENTS)
def test_without_json_data_is_on_stdout_and_remarks_on_stderr(full: Daemon, cdmctl: Cdmctl, command: str) -> None:
    if command == "audit":
        cdmctl("pause", "shop")
    ended = cdmctl(*DOCUMENTS[command])
    assert ended.status == 0
    assert (ended.out == "", ended.err == "") == ((True, False) if command in ON_STDERR else (False, True))
    assert "\x1b" not in ended.out


def test_the_status_says_what_is_running_and_how_well(full: Daemon, cdmctl: Cdmctl) -> None:
    full.runtime.warnings, full.runtime.failure = ["the disk is slow"], "no space"
    ended = cdmctl("status")
    assert "cdmd     0.1.0, running for 12 s" in ended.out
    assert "disk     16 GiB free, 80 days left at today's rate" in ended.out
    assert "totals   1 event, 1 profile" in ended.out
    assert [line.split()[:5] for line in ended.out.splitlines() if line.startswith(("NAME", "shop"))] == [
        ["NAME", "TYPE", "STATE", "FRESHNESS", "RECEIVED"],
        ["shop", "webhook", "running", "-", "of"],
        ["NAME", "VERSION", "STATE", "CALLS", "FAILED"],
    ]
    assert ended.err == "warning: the journal takes nothing: no space\nwarning: the disk is slow\n"


def test_the_status_says_who_writes_the_journal_where_the_daemon_does_not(full: Daemon, cdmctl: Cdmctl) -> None:
    assert "written by" not in cdmctl("status").out
    full.runtime.journal_process = 4_711
    assert "waiting, 4.0 KiB, written by process 4711" in cdmctl("status").out


def test_an_empty_list_says_so_on_stderr(cdmctl: Cdmctl) -> None:
    ended = cdmctl("dead-letters", "list")
    assert (ended.status, ended.out, ended.err) == (0, "", "no dead letters\n")


def test_metrics_are_printed_as_they_are(cdmctl: Cdmctl) -> None:
    assert cdmctl("metrics").out == "# TYPE cdmd_profiles gauge\ncdmd_profiles 1.0\n"


def test_a_pause_warns_when_the_sender_does_not_try_again(cdmctl: Cdmctl) -> None:
    ended = cdmctl("pause", "shop")
    assert ended.err == "paused shop\nwarning: its sender does not try again\n"


def test_a_backup_is_named_from_the_root(
    daemon: Daemon, cdmctl: Cdmctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cdmctl("backup", "monday").err == f"wrote {tmp_path}/monday (12 KiB)\n"
    assert daemon.runtime.done == [("backup", f"{tmp_path}/monday")]


def test_a_log_level_is_set_for_a_duration(daemon: Daemon, cdmctl: Cdmctl) -> None:
    cdmctl("log-level", "debug", "--for", "10m")
    cdmctl("log-level", "info")
    assert daemon.runtime.done == [("log-level", "debug", 600.0), ("log-level", "info", None)]


def test_the_tail_prints_a_line_for_each_event(daemon: Daemon, cdmctl: Cdmctl) -> None:
    [one] = lines([event()])
    daemon.runtime.items = [one, type(one)(stage="extended", time=one.time, event=event("evt-2"), detail="warranty", lost=3)]
    ended = cdmctl("tail", "--connector", "shop")
    assert ended.out.splitlines() == [
        "2026-11-23T10:00:00.120Z stored shop order.paid evt-1",
        "2026-11-23T10:00:00.120Z extended shop order.paid evt-2 warranty",
    ]
    assert ended.err.startswith("3 not shown")
    assert [json.loads(line)["event"]["id"] for line in cdmctl("tail", "--json").out.splitlines()] == ["evt-1", "evt-2"]
    assert "canary-Joe" in cdmctl("tail", "--reveal").out


def test_an_event_and_a_profile_are_shown_in_sections(full: Daemon, cdmctl: Cdmctl) -> None:
    shown = cdmctl("events", "show", "evt-1", "--reveal").out
    assert "extended   took 20 ms" in shown
    assert "canary-deep" in shown
    shown = cdmctl("profile", "show", "email:canary-joe@example.com").out
    assert "\nidentifiers\n" in shown
    assert "canary-joe@example.com" in shown
    (trait,) = [line.split() for line in shown.splitlines() if line.startswith("first_name")]
    assert trait == ["first_name", "canary-Joe", "2026-11-23T10:00:00.120Z", "shop"]


def test_a_dead_letters_record_is_hidden_until_revealed(full: Daemon, cdmctl: Cdmctl) -> None:
    assert "record       21 bytes, hidden (--reveal shows it)" in cdmctl("dead-letters", "show", "2").out
    assert "canary-raw" in cdmctl("dead-letters", "show", "2", "--reveal").out


@pytest.mark.parametrize("command", [name for name in DOCUMENTS if name not in ON_STDERR | {"reload", "targets test"}])
def test_a_reader_never_gets_a_personal_value_on_the_screen(full: Daemon, cdmctl: Cdmctl, command: str) -> None:
    for extra in ([], ["--json"]):
        ended = cdmctl(*DOCUMENTS[command], *extra, role="reader")
        assert ended.status == 0
        assert "canary" not in ended.out + ended.err


# ---- how it ends ---------------------------------------------------------------------------------------------------


def test_what_is_not_found_ends_with_4(cdmctl: Cdmctl) -> None:
    for arguments in (
        ["pause", "nope"],
        ["events", "show", "nope"],
        ["profile", "show", "email:x"],
        ["dead-letters", "show", "9"],
    ):
        ended = cdmctl(*arguments)
        assert (ended.status, ended.out) == (4, "")
        assert ended.err.startswith("cdmctl: ")
        assert ended.err.count("\n") == 1


def test_what_is_not_permitted_ends_with_5(cdmctl: Cdmctl) -> None:
    ended = cdmctl("pause", "shop", role="reader")
    assert (ended.status, ended.out) == (5, "")
    assert ended.err == "cdmctl: rea may not do this: ask to be listed in control.admins, or act as one who is\n"


def test_an_invalid_configuration_ends_with_6_and_a_line_for_each_mistake(daemon: Daemon, cdmctl: Cdmctl) -> None:
    daemon.runtime.trouble = ConfigInvalid(["a.toml: http.listen: one", "a.toml: queue: two"])
    ended = cdmctl("reload")
    assert (ended.status, ended.err) == (6, "a.toml: http.listen: one\na.toml: queue: two\n")


def test_a_failure_of_the_daemon_ends_with_1(daemon: Daemon, cdmctl: Cdmctl) -> None:
    daemon.runtime.trouble = Overloaded("no place now")
    assert (cdmctl("status").status, cdmctl("status").err) == (1, "cdmctl: no place now\n")


def test_a_reload_in_which_a_connector_failed_ends_with_1(daemon: Daemon, cdmctl: Cdmctl) -> None:
    daemon.runtime.report = ReloadReport(
        connectors=[ReloadRow(name="shop", verdict="failed", problem="no secret")], problems=["http.listen"], warnings=["old"]
    )
    ended = cdmctl("reload")
    assert ended.status == 1
    assert "failed   no secret" in ended.out
    assert ended.err == "warning: old\nhttp.listen\n"


def test_a_reload_in_which_a_target_failed_ends_with_1_and_names_it(daemon: Daemon, cdmctl: Cdmctl) -> None:
    gone = ReloadRow(name="crm", verdict="failed", problem="its plugin is missing")
    daemon.runtime.report = ReloadReport(connectors=[ReloadRow(name="shop", verdict="unchanged")], targets=[gone])
    ended = cdmctl("reload")
    assert ended.status == 1
    assert [line.split() for line in ended.out.splitlines()[1:]] == [
        ["connector", "shop", "unchanged", "-"],
        ["target", "crm", "failed", "its", "plugin", "is", "missing"],
    ]


def test_damage_ends_with_1(daemon: Daemon, cdmctl: Cdmctl) -> None:
    daemon.runtime.store.damage = ["store: row 4 is \x1b[2J"]
    ended = cdmctl("verify")
    assert (ended.status, ended.out) == (1, "store: row 4 is \\x1b[2J\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["pause"],
        ["pause", "a/b"],
        ["pause", ".."],
        ["pause", ""],
        ["status", "--no-such-option"],
        ["log-level", "loud"],
        ["log-level", "debug", "--for", "soon"],
        ["profile", "show", "nokind"],
        ["poll", "shop"],
        ["dead-letters", "retry"],
        ["dead-letters", "retry", "1", "--all"],
        ["dead-letters", "discard", "--all"],
        ["dead-letters", "discard", "2"],
        ["dead-letters", "retry", "--all"],
        ["connectors", "forget", "gone"],
        ["top"],
    ],
)
def test_wrong_usage_ends_with_2_and_changes_nothing(
    full: Daemon, cdmctl: Cdmctl, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    ended = cdmctl(*arguments)
    assert (ended.status, ended.out) == (2, "")
    assert "cdmctl: " in ended.err
    assert list(full.runtime.store.letters) == [2]


def test_no_daemon_ends_with_3(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for arguments in (["status"], ["tail"], ["reload"]):
        assert run(cli, [*arguments, "--socket", f"{tmp_path}/none"], name="cdmctl") == 3
        captured = capsys.readouterr()
        assert captured.out == ""
        assert f"no daemon answers at {tmp_path}/none: start it" in captured.err


def test_the_version_is_told_without_a_daemon(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(cli, ["--socket", f"{tmp_path}/none", "version"], name="cdmctl") == 0
    assert capsys.readouterr().out == "command  0.1.0\ndaemon   not running\n"
    assert run(cli, ["--version"], name="cdmctl") == 0
    assert capsys.readouterr().out == "cdmctl 0.1.0\n"


def test_what_a_name_holds_never_reaches_the_terminal_raw(daemon: Daemon, cdmctl: Cdmctl) -> None:
    daemon.runtime.extra_connectors = [ConnectorRow(name=HOSTILE, type="x", state="failed", error=HOSTILE)]
    applied(daemon.runtime, named=HOSTILE)
    daemon.runtime.items = lines([event(HOSTILE)])
    for arguments in (["status"], ["connectors"], ["tail"], ["events", "show", HOSTILE], ["pause", HOSTILE]):
        for extra in ([], ["--json"]):
            ended = cdmctl(*arguments, *extra)
            assert not set(ended.out + ended.err) & set("\x1b\x9b\u202e\x07")
    assert json.loads(cdmctl("connectors", "--json").out)[1]["name"] == HOSTILE
    assert json.loads(cdmctl("tail", "--json").out)["event"]["id"] == HOSTILE


# ---- as a process --------------------------------------------------------------------------------------------------


def on_terminal(arguments: list[str], env: Mapping[str, str], *, until: bytes = b"", typed: bytes = b"") -> tuple[int, bytes]:
    """Run with a terminal as stdin and stdout; returns the status and what was shown. Interrupts once ``until`` was seen."""
    master, slave = pty.openpty()
    child = subprocess.Popen(process(*arguments), stdin=slave, stdout=slave, stderr=slave, env={**os.environ, **env})
    os.close(slave)
    if typed:
        os.write(master, typed)
    shown = b""
    while True:
        try:
            shown += os.read(master, 65536)
        except OSError:
            break
        if until and until in shown:
            child.send_signal(signal.SIGINT)
            until = b""
    os.close(master)
    return child.wait(60), shown


def test_colour_is_for_terminals_that_want_it(daemon: Daemon) -> None:
    daemon.runtime.extra_connectors = [ConnectorRow(name="[red]x[/]", type="x", state="failed")]
    env = {"CDMD_SOCKET": str(daemon.path), "TERM": "xterm", "COLUMNS": "300"}
    status, shown = on_terminal(["connectors"], env)
    assert status == 0
    assert b"\x1b[31m\x1b[1mfailed" in shown
    assert b"[red]x[/]" in shown
    _, shown = on_terminal(["connectors"], {**env, "NO_COLOR": "1"})
    assert b"31m" not in shown
    assert b"failed" in shown


def test_discarding_asks_on_a_terminal_and_does_nothing_without_a_yes(full: Daemon) -> None:
    env = {"CDMD_SOCKET": str(full.path)}
    status, shown = on_terminal(["dead-letters", "discard", "--all"], env, typed=b"n\n")
    assert (status, b"Discard all dead letters? Their events are lost." in shown) == (130, True)
    assert list(full.runtime.store.letters) == [2]
    assert on_terminal(["dead-letters", "discard", "--all"], env, typed=b"y\n")[0] == 0
    assert full.runtime.store.letters == {}


def test_top_draws_until_it_is_interrupted(daemon: Daemon) -> None:
    env = {"CDMD_SOCKET": str(daemon.path), "TERM": "xterm", "COLUMNS": "200", "LINES": "50"}
    status, shown = on_terminal(["top", "--every", "0.2"], env, until=b"warranty")
    assert status == 0
    assert b"Traceback" not in shown


def test_ctrl_c_ends_a_stream_quietly(daemon: Daemon) -> None:
    daemon.runtime.items, daemon.runtime.endless = lines([event()]), True
    child = subprocess.Popen(
        process("tail", "--json", "--socket", str(daemon.path)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert json.loads(child.stdout.readline())["event"]["id"] == "evt-1"
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out, err) == (0, "", "")


def test_a_reader_that_has_seen_enough_ends_a_stream_quietly(daemon: Daemon) -> None:
    daemon.runtime.items = lines([event(str(number)) for number in range(20_000)])
    ended = subprocess.run(
        f"{sys.executable} -m cdmd.cli.control_commands tail --socket {daemon.path} | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.stdout.count("\n"), ended.stderr) == (1, "")


def test_top_in_a_pipe_prints_a_status_a_line(daemon: Daemon) -> None:
    child = subprocess.Popen(
        process("top", "--json", "--every", "0.2", "--socket", str(daemon.path)), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout is not None
    assert [json.loads(child.stdout.readline())["state"] for _ in range(2)] == ["running", "running"]
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=60) == (b"", b"")


def test_shell_completion_knows_commands_and_connectors(daemon: Daemon, tmp_path: Path) -> None:
    def completed(words: str, socket: str) -> list[str]:
        env = {**os.environ, "_CDMCTL_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()))}
        code = "import sys; from cdmd.cli.control_commands import main; main()"
        ended = subprocess.run([sys.executable, "-c", code], env={**env, "CDMD_SOCKET": socket}, capture_output=True, text=True)
        return ended.stdout.split()

    assert completed("cdmctl", str(daemon.path))[:2] == ["plain,status", "plain,top"]
    assert completed("cdmctl pause", str(daemon.path)) == ["plain,shop"]
    assert completed("cdmctl pause", str(tmp_path / "none")) == []


def test_a_status_is_drawn_without_anything_that_is_slow_to_load(daemon: Daemon) -> None:
    code = (
        "import sys\nfrom cdmd.cli.control_commands import cli\nfrom cdmd.cli.running import run\n"
        "run(cli, ['status'], name='cdmctl')\n"
        "heavy = ['rich', 'http.client', 'email', 'ssl', 'dataclasses', 'tomllib', 'msgspec', 'starlette']\n"
        "print('loaded', [name for name in heavy if name in sys.modules])"
    )
    env = {**os.environ, "CDMD_SOCKET": str(daemon.path)}
    master, slave = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", code], stdin=slave, stdout=slave, env=env):
        os.close(slave)
        shown = b""
        with suppress(OSError):
            while piece := os.read(master, 65536):
                shown += piece
    os.close(master)
    assert b"shop" in shown
    assert shown.endswith(b"loaded []\r\n")


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom cdmd.cli.control_commands import cli\nfrom cdmd.cli.running import run\n"
        "run(cli, sys.argv[1:], name='cdmctl')\n"
        "heavy = ['rich', 'starlette', 'httpx', 'msgspec', 'uvicorn', 'asyncssh', 'anyio', 'structlog', 'pluggy']\n"
        "print('loaded', [name for name in heavy if name in sys.modules])"
    )
    for arguments in (["--help"], ["status", "--help"], ["dead-letters", "retry", "--help"]):
        ended = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
        assert ended.stdout.endswith("loaded []\n")
        assert "cdmctl" in ended.stdout


@pytest.mark.parametrize("arguments", [["status"], ["config", "show", "--json"]])
def test_a_full_disk_behind_what_is_printed_is_a_sentence(daemon: Daemon, arguments: list[str]) -> None:
    command = [*process("--socket", str(daemon.path)), *arguments]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 1
    assert ended.stderr == (
        "cdmctl: what this writes is not taken: No space left on device: make room there, or write it elsewhere\n"
    )


def test_a_command_without_anywhere_to_print_does_what_it_does(daemon: Daemon) -> None:
    closed = "import os; os.close(1); os.close(2); os.execv(os.sys.executable, [os.sys.executable, *os.sys.argv[1:]])"
    _, *rest = process("--socket", str(daemon.path), "status")
    assert subprocess.run([sys.executable, "-c", closed, *rest]).returncode == 0


def test_secrets_are_their_keys_and_references_and_a_literal_is_named(daemon: Daemon, cdmctl: Cdmctl) -> None:
    shop = {"secrets": ["credential:shop", "[secret]"], "path": "/hooks/shop"}
    effective = {"connectors": {"shop": shop}, "targets": {"crm": {"url": "https://x.example/?token=[secret]"}}}
    daemon.runtime.config = msgspec.structs.replace(daemon.runtime.config, effective=effective)
    status, out, err = cdmctl("secrets", role="reader")
    assert (status, [line.split() for line in out.splitlines()[1:]]) == (
        0,
        [
            ["connectors.shop.secrets", "systemd", "credential:shop"],
            ["connectors.shop.secrets", "literal", "-"],
            ["targets.crm.url", "literal", "-"],
        ],
    )
    assert "write it as env:NAME" in err
    assert cdmctl("secrets", "--json").json[0] == {
        "key": "connectors.shop.secrets",
        "from": "systemd",
        "reference": "credential:shop",
    }
