"""The manual pages and the completion scripts, both made from the commands themselves."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cdmd.cli import manual
from cdmd.cli.control_commands import cli as cdmctl
from cdmd.cli.daemon_commands import cli as cdmd
from cdmd.cli.running import run
from tests.control.doubles import Daemon


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {file.name: file for file in manual.write(tmp_path_factory.mktemp("man") / "pages")}


def shown(file: Path) -> str:
    """The page as a reader sees it, on a wide terminal."""
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(["groff", "-man", "-ww", "-Tutf8", "-rLL=200n", "-P-c", str(file)], capture_output=True, check=True)
    assert done.stderr == b""
    plain = done.stdout.decode()
    while "\b" in plain:  # bold is written as a letter over itself
        place = plain.index("\b")
        plain = plain[: place - 1] + plain[place + 1 :]
    return plain


def below(command: click.Group, path: str) -> list[str]:
    ctx, found = click.Context(command, info_name=path), []
    for name in command.list_commands(ctx):
        one = command.get_command(ctx, name)
        assert one is not None
        found += [f"{path} {name}", *(below(one, f"{path} {name}") if isinstance(one, click.Group) else [])]
    return found


@pytest.mark.parametrize(("page", "command", "name"), [("cdmctl.1", cdmctl, "cdmctl"), ("cdmd.8", cdmd, "cdmd")])
def test_the_manual_pages_know_every_command_and_are_well_formed(
    pages: dict[str, Path], page: str, command: click.Group, name: str
) -> None:
    text = shown(pages[page])
    headings = [line.strip() for line in text.splitlines()]
    assert not [path for path in below(command, name) if path not in headings]
    assert "5      Not permitted." in text
    assert "$CDMD_SOCKET" in text or page == "cdmd.8"


def test_examples_keep_their_lines_and_options_say_what_they_are_for(pages: dict[str, Path]) -> None:
    text = shown(pages["cdmctl.1"])
    assert "           cdmctl status\n           cdmctl status --json | jq .journal.backlog\n" in text
    assert "--every FLOAT RANGE\n" in text
    assert "Seconds between two looks." in text
    assert text.count("--help") == 1, "once is enough"


def test_text_is_never_taken_for_an_instruction() -> None:
    assert manual._text(".so /etc/passwd") == "\\&.so /etc/passwd"
    assert manual._text("a\\nb - 'c'") == "a\\enb \\- 'c'"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(("command", "name"), [(cdmctl, "cdmctl"), (cdmd, "cdmd")])
def test_each_shell_gets_its_script(capsys: pytest.CaptureFixture[str], command: click.Group, name: str, shell: str) -> None:
    assert run(command, ["completion", shell], name=name) == 0
    script = capsys.readouterr().out
    assert f"_{name.upper()}_COMPLETE={shell}_complete" in script


def test_bash_completes_commands_and_the_names_of_live_connectors(daemon: Daemon, tmp_path: Path) -> None:
    ours = f"{sys.executable} -m cdmd.cli.control_commands"
    (tmp_path / "cdmctl").write_text(f'#!/bin/sh\nexec {ours} "$@"\n')
    (tmp_path / "cdmctl").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "CDMD_SOCKET": str(daemon.path)}
    script = """
        source <(cdmctl completion bash)
        for word in "res" "pause "; do
            read -ra COMP_WORDS <<< "cdmctl $word"
            [[ $word == *" " ]] && COMP_WORDS+=("")
            COMPREPLY=() COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _cdmctl_completion cdmctl
            echo "${COMPREPLY[*]}"
        done
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment, timeout=60)
    assert (done.stdout, done.stderr) == ("resume\nshop\n", "")
