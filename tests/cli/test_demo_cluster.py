"""``cdmd demo --cluster`` for real, what it says where a server is not installed, and what if something were missing."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import cdmd
from cdmd.cli.demo import servers
from cdmd.cli.demo.cluster import Cluster, Shop, _count, order
from cdmd.cli.demo.telling import Telling
from cdmd.errors import CdmdError, NotFound

ROOT = Path(cdmd.__file__).parents[1]
COMMAND = [sys.executable, "-m", "cdmd", "demo", "--cluster", "--once"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_three_nodes_lose_one_and_nothing_that_was_acknowledged() -> None:
    try:
        servers.found_programs()
    except NotFound as error:
        pytest.skip(str(error))
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL's user has to come through
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": folder}
        done = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stdout + done.stderr
        for line in (
            r"acknowledged +600 orders, none refused for want of n3",
            r"its lanes +went to the other two \d+\.\d s after that",
            r"received +660 = 660 accepted \+ 0 refused",
            r"accepted +660 = 600 applied \+ 60 repeats \+ 0 waiting",
            r"customers +30 of 30 ",
            r"n1 +3 lanes, running; leads",
            r"n3 +lost",
            r"each order once and in its customer's order",
        ):
            assert re.search(line, done.stdout), (line, done.stdout)
        assert list(Path(folder).iterdir()) == []


def test_where_a_server_is_not_installed_it_says_what_to_install_and_ends_with_4(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import cdmd.cli.demo.servers as s; s._PLACES = ''; Path.glob = lambda *_: [];"
        "from cdmd.cli.running import run; from cdmd.cli.demo.command import demo;"
        "sys.exit(run(demo, ['--cluster'], name='cdmd'))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 4, done.stderr
    assert (
        "nats-server (Debian: apt-get install nats-server) and PostgreSQL (Debian: apt-get install postgresql)" in done.stderr
    )


def test_an_order_that_is_missing_or_out_of_order_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    sent = [order(number) for number in range(60)]

    class Control:
        def get(self, path: str, said: Any = None) -> Any:
            if path == "/v1/status":
                row = {"received": 120, "accepted": 120, "refused": 0, "applied": 59, "repeats": 61, "backlog": 0}
                nodes = [{"name": "here:/a/n1/state", "lanes": {}, "lost": True, "leads": False}]
                return {"journal": {"backlog": 0}, "connectors": [row], "nodes": nodes}
            number = int(re.findall(r"\d+", said["identifier"])[0])
            return {"indicators": {"orders": 1 if number == 3 else 2, "latest": number if number == 4 else number + 30}}

    cluster = Cluster(Path(), {"n2": SimpleNamespace(control=Control())}, 0.0)  # type: ignore[dict-item]
    assert _count(cluster, Telling(colour=False), sent) == [
        "60 orders were acknowledged and 59 applied",
        "the orders of customer3@example.com",
        "the orders of customer4@example.com",
    ]
    assert "28 of 30" in capsys.readouterr().out


def test_an_order_is_sent_again_until_it_is_acknowledged() -> None:
    asked: list[int] = []

    def send(path: str, one: dict[str, Any]) -> None:
        asked.append(one["n"])
        if len(asked) == 1:
            raise CdmdError("nobody listens")

    shop = Shop(SimpleNamespace(send=send), 0, 2)  # type: ignore[arg-type]
    shop.run()
    assert (asked, [one["n"] for one in shop.acknowledged]) == ([0, 0, 3], [0, 3])
