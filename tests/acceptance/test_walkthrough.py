"""What the README tells of one customer from three sources: its configuration and its commands, in order."""

import base64
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from cdmd.errors import NotFound
from cdmd.testing import DaemonProcess
from tests.acceptance.trial import until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]
README = (Path(__file__).parents[2] / "README.md").read_text()
SECTION = README.partition("\n## One customer, from three sources\n")[2].partition("\n## ")[0]
KEY = {"Authorization": f"Basic {base64.b64encode(b'tv-key:').decode()}"}


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)
    assert found is not None
    return found[1]


def told() -> list[tuple[list[str], list[str]]]:
    """Each command of the README, with the lines that it is said to print."""
    found: list[tuple[list[str], list[str]]] = []
    for line in block("console").splitlines():
        if line.startswith("$ cdmctl "):
            found.append((shlex.split(line)[2:], []))
        elif line != "...":
            found[-1][1].append(line)
    return found


def call(number: int, kind: str, **keys: Any) -> dict[str, Any]:
    return {"type": kind, "messageId": f"m{number}", "anonymousId": "tv-1", **keys}


def deliver(one: DaemonProcess, file: Path, address: str) -> None:
    """The CRM's export, with this address beside Joe's number."""
    one.settle()
    before = one.control.get("/v1/status")["totals"]["events"]
    file.write_text(f"number,name,email,city\n4711,Joe,{address},Lund\n")
    until(lambda: one.control.get("/v1/status")["totals"]["events"] == before + 1)
    one.settle()


def test_the_commands_of_the_readme_do_what_it_says(tmp_path: Path) -> None:
    exports = tmp_path / "exports"
    exports.mkdir()
    quick = 'files = ["customers*.csv"]\nstable_for = "0s"\nevery = "1s"'
    config = block("toml").replace("/srv/exports", str(exports)).replace('files = ["customers*.csv"]', quick)
    one = DaemonProcess(tmp_path, config, environment={"SHOP_TOKEN": "shop-token", "TV_KEY": "tv-key"})
    with one:
        order = {"number": "o-1", "email": "joe@example.com", "total": 99.5}
        one.send("/hooks/shop", order, headers={"Authorization": "Bearer shop-token"})
        one.send("/v1/identify", call(1, "identify", traits={"email": "joe@example.com"}), headers=KEY)
        one.send("/v1/track", call(2, "track", event="runtime", properties={"hours": 10_001}), headers=KEY)
        one.send("/v1/identify", call(3, "identify", traits={"email": "eve@example.com"}), headers=KEY)
        deliver(one, exports / "customers1.csv", "joe@example.com")
        apart = one.ask("profile", "explain", "customer_no:4711", "email:eve@example.com")
        assert apart["summary"].endswith("anonymous_id given up: shared with another email")
        deliver(one, exports / "customers2.csv", "eve@example.com")
        for arguments, lines in told():
            done = one.cdmctl(*arguments)
            printed = [line.split() for line in (done.stdout + done.stderr).splitlines()]
            for line in lines:
                words = [word for word in line.split() if "…" not in word]
                assert any(set(words) <= set(row) for row in printed), (arguments, line, done.stdout)
            if arguments[:2] == ["audience", "members"]:
                assert "customer_no:4711" in done.stdout
                assert "eve" not in done.stdout
            if arguments[:2] == ["profile", "export"]:
                rows = [json.loads(row) for row in done.stdout.splitlines()]
                assert {row["type"] for row in rows} >= {"profile", "identifier", "trait", "activity"}
        with pytest.raises(NotFound):
            one.control.get("/v1/profile", {"identifier": "customer_no:4711"})
        assert one.control.get("/v1/profile", {"identifier": "email:eve@example.com"})["identifiers"]
