"""The demo's story with its process watched from within: the plugin's part, the end by a signal, a daemon that dies."""

import os
import signal
import tempfile
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import cdmd
from cdmd.cli.daemon_commands import main
from cdmd.cli.demo.application import report
from cdmd.cli.demo.arrivals import missing
from cdmd.cli.demo.part import Answered, Delivery
from cdmd.cli.demo.sandbox import Sandbox
from cdmd.errors import CdmdError
from cdmd.testing import DaemonProcess

ROOT = Path(cdmd.__file__).parents[1]
STORY = 15 + 15 + 119


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Its name is short, for a socket's path has to be."""
    with tempfile.TemporaryDirectory(prefix="demo-") as found:
        monkeypatch.setattr(tempfile, "tempdir", found)
        monkeypatch.setattr("cdmd.cli.demo.television.entry_points", lambda group: [])
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        yield Path(found)


def after_the_story(monkeypatch: pytest.MonkeyPatch, *, happens: int, what: object) -> None:
    """Let ``what`` (a function of the sandbox) happen once so many deliveries more than the story has were made."""
    plain, taken = Sandbox.deliver, []

    def deliver(self: Sandbox, delivery: Delivery) -> Answered:
        answered = plain(self, delivery)
        taken.append(delivery)
        if len(taken) == STORY + happens:
            what(self)  # type: ignore[operator]
        return answered

    monkeypatch.setattr(Sandbox, "deliver", deliver)
    monkeypatch.setattr("cdmd.cli.demo.command._EVERY", 0.01)


def test_with_the_plugin_the_contract_is_part_of_the_story(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    warranty = DaemonProcess(tmp_path, plugins={"warranty": "cdmd_warranty"}, paths=[ROOT / "plugins" / "cdmd-warranty"])
    monkeypatch.setenv("PYTHONPATH", warranty.environment["PYTHONPATH"])
    points = [EntryPoint("warranty", "cdmd_warranty", "cdmd")]
    monkeypatch.setattr("cdmd.cli.demo.television.entry_points", lambda group: points)
    assert main(["demo", "--once"]) == 0
    told = capsys.readouterr().out
    assert "warranty asked the contract service before the event was stored: covered until 2027-06-30" in told
    assert "not installed" not in told
    assert "none lost, none twice" in told
    assert list(folder.iterdir()) == []


def test_it_goes_on_with_readings_until_a_signal_ends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    after_the_story(monkeypatch, happens=3, what=lambda sandbox: os.kill(os.getpid(), signal.SIGTERM))
    assert main(["demo"]) == 0
    told = capsys.readouterr().out
    assert "profile show email:joe@example.com" in told
    assert "Stopped; nothing is left of it." in told
    assert list(folder.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_within_once_is_an_interruption(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    after_the_story(monkeypatch, happens=-121, what=lambda sandbox: os.kill(os.getpid(), signal.SIGTERM))
    assert main(["demo", "--once"]) == 130
    assert list(folder.iterdir()) == []


def test_a_daemon_that_dies_ends_the_demo_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    def die(sandbox: Sandbox) -> None:
        assert sandbox.daemon.process is not None
        sandbox.daemon.process.kill()
        sandbox.daemon.process.wait(60)

    after_the_story(monkeypatch, happens=1, what=die)
    assert main(["demo"]) == 1
    assert "the daemon ended by itself" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_readings_that_are_never_acknowledged_end_the_demo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    monkeypatch.setattr("cdmd.cli.demo.television._PATIENCE", 0.5)
    after_the_story(monkeypatch, happens=-110, what=lambda sandbox: sandbox.daemon.kill())
    assert main(["demo", "--once"]) == 1
    assert "readings were acknowledged in 0.5 s" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_without_the_library_a_client_of_ours_reports_and_what_is_not_there_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cdmd.cli.demo.application.find_spec", lambda name: None)
    monkeypatch.setattr("cdmd.cli.demo.command.missing", lambda *arguments: [*missing(*arguments), "one reading"])
    assert main(["demo", "--once"]) == 1
    said = capsys.readouterr()
    assert "a client of ours, because segment-analytics-python is not installed" in said.out
    assert "user_id joe-4711; television: 10,120 hours; 131 events" in said.out
    assert [line.strip().partition("missing: ")[2] for line in said.err.splitlines()] == ["one reading"]
    assert "Everything" not in said.out


def test_what_never_comes_to_rest_ends_the_demo_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    monkeypatch.setattr("cdmd.cli.demo.sandbox._SETTLE_SECONDS", 0.2)
    monkeypatch.setattr("cdmd.cli.demo.survey.Survey.waits", lambda *_: True)
    assert main(["demo", "--once"]) == 1
    assert "not everything arrived within 0.2 seconds" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_a_register_that_is_never_read_ends_the_demo_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    monkeypatch.setattr("cdmd.cli.demo.supplier._SECONDS", 0.2)
    monkeypatch.setattr(Sandbox, "shelf", lambda *_: [])
    assert main(["demo", "--once"]) == 1
    assert "the supplier's file customers_1.csv was not read within 0.2 seconds" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_an_audience_that_is_never_delivered_ends_the_demo_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    monkeypatch.setattr("cdmd.cli.demo.agency._SECONDS", 0.2)
    monkeypatch.setattr(Sandbox, "send", lambda *_: None)
    assert main(["demo", "--once"]) == 1
    assert "the agency's file was not there within 0.2 seconds" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("installed", [True, False])
def test_calls_that_are_not_taken_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    if installed:
        pytest.importorskip("segment.analytics", reason="segment-analytics-python is not installed")
    else:
        monkeypatch.setattr("cdmd.cli.demo.application.find_spec", lambda name: None)
    config = '[connectors.app]\ntype = "application"\nwrite_keys = ["env:WRITE_KEY"]\n'
    with DaemonProcess(tmp_path, config, environment={"WRITE_KEY": "k"}) as daemon:
        url = daemon.url
        report(url, "k")
        with pytest.raises(CdmdError, match="invalid_write_key"):
            report(url, "another")
    with pytest.raises(CdmdError):
        report(url, "k")
