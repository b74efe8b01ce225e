"""What ``cdmd migrate`` says of what it did; what it does is tried in tests/moving."""

from pathlib import Path

import pytest

from cdmd.cli.daemon_migrating import _report
from cdmd.config.sharing import JournalSettings
from cdmd.config.storing import StoreSettings
from cdmd.kit.clock import SystemClock
from cdmd.moving.migration import Moved, Plan
from cdmd.moving.places import Installation
from cdmd.store.files import StateDirectory


def test_that_what_was_left_on_servers_stays_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = Installation(StateDirectory(tmp_path), JournalSettings(), StoreSettings())
    there = Installation(StateDirectory(tmp_path), JournalSettings(url="nats://bus:4222"), StoreSettings())
    for source, target, said in ((there, here, True), (here, there, False)):
        plan = Plan(source=source, target=target, clock=SystemClock(), told=lambda _what, _count: None)
        _report(plan, Moved(parts={}, resumed=False, aside=None), as_json=False)
        assert ("what lies at nats://bus:4222 (cdmd) stays there, and erasures do not" in capsys.readouterr().err) is said
