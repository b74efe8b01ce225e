"""A plugin's upgrade that fails, and a kill: what must not pass by its extension waits for it.

How it goes on: ``tests/daemon/test_remembering.py``.
"""

import json
from pathlib import Path

import pytest

from cdmd.testing import DaemonProcess

pytestmark = [pytest.mark.acceptance]

CONFIG = """
[connectors.shop]
type = "webhook"
verify = "none"
event = { id = "{id}", type = "order.paid", identifiers = { email = "{email}" }, data = "*" }
[plugins.till]
url = "http://127.0.0.1:9"
"""
PLUGIN = """
import cdmd

@cdmd.extension(on="order.*")
async def ask(event, context):
    return event.enriched(points=len(event.data))

@cdmd.hookimpl
def cdmd_extensions():
    return [ask]
"""


def test_an_upgrade_that_cannot_be_imported_voids_no_hold(tmp_path: Path) -> None:
    module = tmp_path / "cdmd_till.py"
    module.write_text(PLUGIN)
    with DaemonProcess(tmp_path, CONFIG, plugins={"till": "cdmd_till"}, paths=[tmp_path]) as daemon:
        daemon.kill()
        module.write_text("import nosuchmodule\n" + PLUGIN)
        daemon.start()
        daemon.send("/hooks/shop", {"id": "1", "email": "joe@example.com"})
        daemon.settle()
        findings = json.loads(daemon.cdmctl("doctor", "--json", check=False).stdout)
        (found,) = [one for one in findings if one["about"] == "plugin till"]
        assert "order.* events are kept until it is well, 1 of them now" in found["what"]
        assert daemon.ask("status")["totals"]["events"] == 0
