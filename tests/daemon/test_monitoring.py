"""The alert rules and the dashboard under etc/monitoring speak of metrics that exist, and the rules fire when they should."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cdmd.daemon.running import Running
from tests.daemon.doubles import World

ROOT = Path(__file__).parents[2]
FILES = ROOT / "etc/monitoring"
DASHBOARD = json.loads((FILES / "dashboard.json").read_text())
RULES = (FILES / "alerts.yml").read_text()
RULES_TEST = Path(__file__).with_name("alerts_test.yml")


@pytest.mark.anyio
async def test_every_metric_that_they_name_exists(tmp_path: Path) -> None:
    async with World(tmp_path, '[connectors.crm]\ntype = "fetcher"\n').parts() as parts:
        text = (await Running(parts).metrics()).decode()
    families = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    named = set(re.findall(r"\bcdmd_\w+", RULES + json.dumps(DASHBOARD)))
    assert named - families == set()
    assert families - named <= {
        "cdmd_remarks_total",
        "cdmd_plugin_calls_total",
        "cdmd_deliveries_pending_bytes",
        "cdmd_deliveries_total",
        "cdmd_connector_last_success_timestamp_seconds",
        "cdmd_connector_next_look_seconds",
        "cdmd_connector_source_lag_seconds",
        "cdmd_connector_to_fetch",
        "cdmd_erasures_pending",
        "cdmd_event_visible_seconds",
        "cdmd_journal_backlog_seconds",
        "cdmd_plugin_seconds",
        "cdmd_spans_total",
    }


def test_the_rules_fire_when_they_should_and_only_then() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run(["promtool", "test", "rules", str(RULES_TEST)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    alerts = re.findall(r"^ *- alert: (\w+)", RULES, re.MULTILINE)
    assert [name for name in alerts if f'alertname="{name}"' not in RULES_TEST.read_text()] == []


def test_every_panel_can_be_told_from_the_others_and_asks_the_chosen_source() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["description"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
    places = [tuple(panel["gridPos"][name] for name in "xy") for panel in panels]
    assert len(set(places)) == len(places)
