"""The parts of the commands that need no daemon: where the socket is, text that is safe, lists that do not drift."""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from pathlib import Path
from types import MappingProxyType

import click
import msgspec
import pytest

from cdmd.cli.connection import places
from cdmd.cli.control_commands import cli
from cdmd.cli.drawing import Table
from cdmd.cli.lazy import LazyGroup
from cdmd.cli.reference import api_table, command_table, problem_table
from cdmd.cli.running import exit_statuses, run
from cdmd.cli.tables import connector_table, stream_table
from cdmd.cli.terminal import cell, clean, json_text, print_table, span, table_lines
from cdmd.control.protocol import ConnectorRow, StreamRow
from cdmd.kit.measures import size


def test_a_named_socket_is_the_only_place() -> None:
    assert places({"CDMD_SOCKET": "/a", "XDG_RUNTIME_DIR": "/run/user/1", "HOME": "/h"}) == ["/a"]


def test_the_socket_is_looked_for_where_a_daemon_puts_it(tmp_path: Path) -> None:
    none = str(tmp_path / "none.toml")
    assert places({"CDMD_CONFIG": none, "RUNTIME_DIRECTORY": "/r", "XDG_RUNTIME_DIR": "/run/user/1", "HOME": "/h"}) == [
        "/r/control.sock",
        "/run/user/1/cdmd/control.sock",
        "/h/.local/state/cdmd/control.sock",
        "/run/cdmd/control.sock",
    ]
    assert places({"CDMD_CONFIG": none}) == ["/run/cdmd/control.sock"]


def test_the_configuration_may_say_where_the_socket_is(tmp_path: Path) -> None:
    file = tmp_path / "cdmd.toml"
    file.write_text('[control]\nsocket = "/c/s"\n')
    assert places({"CDMD_CONFIG": str(file), "HOME": "/h"})[0] == "/c/s"
    file.write_text('[daemon]\nstate_dir = "/d"\n')
    assert places({"CDMD_CONFIG": str(file), "HOME": "/h"})[0] == "/d/control.sock"
    for wrong in ("control = 1", "[control]\nsocket = 1", "= ]"):
        file.write_text(wrong)
        assert places({"CDMD_CONFIG": str(file), "HOME": "/h"})[0] == "/h/.local/state/cdmd/control.sock"


@pytest.mark.parametrize(
    "unsafe", ["\x00", "\x07", "\x1b[2J", "\r", "\n", "\x7f", "\x9b", "\u202e", "\u2066", "\u200b", "\ud800"]
)
def test_what_moves_a_cursor_or_deceives_is_written_out(unsafe: str) -> None:
    assert clean(f"a{unsafe}b").isprintable()
    assert json_text({"k": unsafe}).replace("\n", "").isprintable()


def test_names_of_people_are_left_as_they_are() -> None:
    assert clean("Åsa Öberg 名前 😀") == "Åsa Öberg 名前 😀"
    assert json_text("Åsa") == '"Åsa"'


def test_values_are_shown_as_one_line() -> None:
    shown = [cell(each) for each in (None, True, False, 3, 2.50, "x\ny", {"a": ["b"]})]
    assert shown == ["-", "yes", "no", "3", "2.5", "x\\ny", '{"a": ["b"]}']


def test_sizes_and_spans_have_a_fitting_unit() -> None:
    assert [size(each) for each in (0, 1023, 1024, 1536, 20 * 2**20, 3 * 2**40, 2**60)] == [
        *("0 B", "1023 B", "1.0 KiB", "1.5 KiB", "20 MiB", "3.0 TiB", "1048576 TiB"),
    ]
    assert [span(each) for each in (None, 0.02, 1.5, 12.5, 130, 7300, 200_000)] == [
        *("-", "20 ms", "1.5 s", "12 s", "2 min", "2 h", "2 d"),
    ]


def test_columns_are_aligned_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(Table("things", ("a", "long header"), [["wide value", 1], ["x", None]]))
    assert capsys.readouterr().out == "A           LONG HEADER\nwide value  1\nx           -\n"


def test_a_narrow_terminal_leaves_optional_columns_out_and_folds_the_widest() -> None:
    table = Table("things", ("name", "since", "message"), [["a", "2026-11-24T03:17:02Z", "what is wrong " * 4]], ("since",))
    assert table_lines(table, width=120)[0] == "NAME  SINCE                 MESSAGE"
    narrow = table_lines(table, width=40)
    assert narrow[0] == "NAME  MESSAGE"
    assert len(narrow) == 3
    assert max(map(len, narrow)) <= 40


def test_a_time_that_does_not_fit_is_folded_behind_its_day() -> None:
    rows = [["2026-11-24T03:17:02.250Z", "from 2026-11-24T03:17:02Z"]]
    lines = table_lines(Table("things", ("when", "what"), rows), width=40)
    assert [line.split() for line in lines[1:]] == [["2026-11-24", "from", "2026-11-24"], ["T03:17:02.250Z", "T03:17:02Z"]]


def test_letters_of_the_east_are_two_columns_broad_and_what_is_too_long_is_folded_within_its_column() -> None:
    rows = [["名前", "x", ""], ["e\u0301", "wordwithoutaspace " + "名" * 12, "ok"]]
    lines = table_lines(Table("things", ("a", "what was said", "b"), rows), width=20)
    assert lines[:2] == ["A     WHAT WAS  B", "      said".upper()]
    assert lines[2] == "名前  x"
    assert lines[3:] == [
        "e\u0301     wordwith  ok",
        "      outaspac",
        "      e",
        "      名名名名",
        "      名名名名",
        "      名名名名",
    ]
    assert table_lines(Table("things", ("a",), [["  "]]), width=1) == ["A", ""]


def test_examples_keep_their_lines_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["dead-letters", "retry", "--help"], ["dead-letters", "--help"]):
        assert run(cli, arguments, name="cdmctl") == 0
        shown = capsys.readouterr().out
        assert "\\b" not in shown
        assert "\n  cdmctl dead-letters retry" in shown


def walk(group: LazyGroup, path: str) -> list[tuple[str, click.Command, str | None]]:
    found: list[tuple[str, click.Command, str | None]] = []
    ctx = click.Context(group)
    for name, entry in group.entries.items():
        command = group.get_command(ctx, name)
        assert command is not None
        found.append((f"{path} {name}", command, entry.help))
        if isinstance(command, LazyGroup):
            found += walk(command, f"{path} {name}")
    return found


ALL = walk(cli, "cdmctl")  # type: ignore[arg-type]


@pytest.mark.parametrize(("path", "command", "listed"), ALL, ids=[path for path, _, _ in ALL])
def test_a_command_is_listed_under_its_name_with_its_own_help(path: str, command: click.Command, listed: str) -> None:
    assert (command.help or "").partition("\n")[0] == listed
    assert command.name == path.rpartition(" ")[2]


@pytest.mark.parametrize(("path", "command", "listed"), ALL, ids=[path for path, _, _ in ALL])
def test_every_command_that_runs_takes_a_socket_and_prints_json(path: str, command: click.Command, listed: str) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    if path in {"cdmctl completion", "cdmctl console"}:  # the one asks nobody, the other serves until it is stopped
        return
    if not isinstance(command, click.Group) or command.invoke_without_command:
        assert "--socket" in options
        # These print text, or nothing.
        assert "--json" in options or path in {"cdmctl console", "cdmctl metrics", "cdmctl support-bundle"}


def test_the_table_of_commands_names_each_with_its_arguments() -> None:
    table = command_table(cli, name="cdmctl").splitlines()
    assert table[:2] == ["| command | does |", "|---|---|"]
    assert "| `cdmctl pause NAME [--json]` | Hold a connector back, over restarts. |" in table
    assert "| `cdmctl dead-letters [--json]` | Events set aside: list, show, retry, discard. |" in table
    assert any(row.startswith("| `cdmctl log-level {debug\\|info\\|warning\\|error} [--for DURATION]") for row in table)
    assert not any("--socket" in row or "`cdmctl config`" in row for row in table)


def test_the_tables_of_the_control_api_name_each_path_and_problem() -> None:
    rows = api_table().splitlines()
    assert "| `POST /v1/connectors/{name}/pause` | Hold a connector back, over restarts. |" in rows
    assert "| `GET /v1/tail` | `connector`, `type`, `stage`, `reveal`: live events as JSON Lines. |" in rows
    assert not any(row.endswith("|  |") for row in rows)
    assert "| `not-found` | 404 | There is no such thing here. |" in problem_table().splitlines()


@pytest.mark.parametrize("arguments", [(), ("profile",)])
def test_a_group_by_its_name_alone_says_what_it_has(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, arguments, name="cdmctl") == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == " ".join(("Usage: cdmctl", *arguments, "[OPTIONS] COMMAND [ARGS]..."))
    assert "Commands:" in said
    assert [line for line in said if line.startswith("cdmctl:")] == []


def test_a_path_where_one_may_not_look_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def looks() -> None:
        raise PermissionError(13, "Permission denied", "/var/lib/cdmd/store.db")

    assert run(looks, [], name="cdmd") == 5
    said = "cdmd: /var/lib/cdmd/store.db: Permission denied: act as who it belongs to, or as root\n"
    assert capsys.readouterr().err == said


def test_every_exit_status_is_named() -> None:
    assert [status for status, _ in exit_statuses()] == [0, 1, 2, 3, 4, 5, 6]


# ---- commands of plugins -------------------------------------------------------------------------------------------


class Installed(LazyGroup):
    """A group that finds these entry points installed."""

    points: Mapping[str, EntryPoint] = MappingProxyType({})

    def _plugins(self) -> dict[str, EntryPoint]:
        return dict(self.points)


def group(**points: str) -> Installed:
    made = Installed("cdmctl", entries=cli.entries)  # type: ignore[attr-defined]
    made.points = {name: EntryPoint(name, place, "cdmd.commands") for name, place in points.items()}
    return made


def test_a_plugins_command_is_listed_without_being_imported_and_imported_when_called(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_plugin_of_commands.py").write_text("import click\n@click.command\ndef hello():\n    click.echo('hello')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    made = group(hello="a_plugin_of_commands:hello", status="a_plugin_of_commands:nothing")
    assert run(made, ["--help"], name="cdmctl") == 0
    assert "hello  From a plugin." in capsys.readouterr().out
    assert "a_plugin_of_commands" not in sys.modules
    assert run(made, ["hello"], name="cdmctl") == 0
    assert capsys.readouterr().out == "hello\n"
    assert made.list_commands(click.Context(made)).count("status") == 1


@pytest.mark.parametrize("place", ["no_such_module:x", "json:no_such_name", "json:dumps"])
def test_a_plugins_command_that_cannot_be_loaded_fails_alone(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = group(broken=place)
    assert run(made, ["broken"], name="cdmctl") == 1
    assert capsys.readouterr().err.startswith("cdmctl: broken of a plugin ")
    assert run(made, ["status", "--help"], name="cdmctl") == 0


def test_without_plugins_there_are_only_our_commands() -> None:
    assert cli.list_commands(click.Context(cli)) == list(cli.entries)  # type: ignore[attr-defined]


def test_what_a_profile_or_an_indicator_could_not_take_stands_in_the_remark() -> None:
    counted = {"unusable": 4, "kept_apart": 2, "ignored_traits": 3, "skipped_values": 1}
    row = ConnectorRow(name="tv", type="webhook", state="running", detail="listens", **counted)
    (shown,) = connector_table([msgspec.to_builtins(row)]).rows
    assert shown[-1] == "listens; 4 unusable; 2 kept apart; 3 ignored traits; 1 skipped values"


def test_why_requests_were_refused_stands_in_the_remark_the_most_frequent_reasons_first() -> None:
    refusals = {"signature_mismatch": 7, "quota": 3, "method": 2, "address": 2, "busy": 1}
    row = ConnectorRow(name="tv", type="webhook", state="running", detail="listens", refused=15, refusals=refusals)
    (shown,) = connector_table([msgspec.to_builtins(row)]).rows
    assert shown[-1] == "listens; refused since the start: signature_mismatch 7, quota 3, method 2, address 2"


def test_streams_are_shown_with_their_next_look_why_then_and_what_will_not_be_reached() -> None:
    due = datetime(2026, 1, 1, 12, tzinfo=UTC)
    stream = StreamRow(
        name="contacts",
        freshness_objective_seconds=300.0,
        freshness_seconds=120.0,
        next=due,
        why="by then",
        shortfall="5m is wanted",
    )
    row = ConnectorRow(name="crm", type="rest", state="running", streams=[stream])
    (shown,) = stream_table([msgspec.to_builtins(row)]).rows
    assert shown[:2] == ["crm.contacts", "2 min of 5 min"]
    assert shown[4] == "by then; 5m is wanted"
