"""The real daemon between two streams of a real nats-server, either of which may be killed."""

import json
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from cdmd.testing import DaemonProcess
from tests.server import MISSING, asked, eventually, serving

pytestmark = [pytest.mark.timeout(180), pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]
HERE = Path(__file__).parents[1]
CONFIG = """
[connectors.orders]
type = "nats"
servers = [{{ host = "127.0.0.1", port = {port} }}]
{login}
stream = "ORDERS"
subjects = ["orders.>"]
[connectors.orders.event]
type = "order.{{status}}"
identifiers = {{ email = "{{email}}" }}
data = {{ subject = "{{_message.subject}}", n = "{{n}}" }}
[connectors.live]
type = "nats"
servers = [{{ host = "127.0.0.1", port = {port} }}]
{login}
subjects = ["live.*"]
[connectors.live.event]
type = "live"
identifiers = {{ email = "{{email}}" }}
[targets.out]
type = "nats"
servers = [{{ host = "127.0.0.1", port = {port} }}]
{login}
events = ["order.paid"]
subject = "out.{{type}}"
retry = ["0s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s"]
"""


def daemon(folder: Path, port: int, login: str = "") -> DaemonProcess:
    config = CONFIG.format(port=port, login=login)
    return DaemonProcess(
        folder, config, plugins={"nats": "cdmd_nats"}, paths=[HERE, HERE.parents[1]], environment={"PW": "right"}
    )


async def streams(client: Client) -> None:
    await client.jetstream().add_stream(name="ORDERS", subjects=["orders.>"])
    await client.jetstream().add_stream(name="OUT", subjects=["out.>"])


def publish(port: int, first: int, last: int) -> None:
    async def work(client: Client) -> None:
        for n in range(first, last):
            order = {"email": f"u{n % 7}@example.com", "n": n, "status": "paid" if n % 2 else "open"}
            await client.jetstream().publish(f"orders.{n % 3}", json.dumps(order).encode())

    asked(port, work)


def delivered(port: int) -> list[dict[str, Any]]:
    async def work(client: Client) -> list[dict[str, Any]]:
        stream = client.jetstream()
        state = (await stream.stream_info("OUT")).state
        found = [await stream.get_msg("OUT", seq) for seq in range(state.first_seq or 1, state.last_seq + 1)]
        return [{"id": (one.headers or {}).get("Nats-Msg-Id"), **json.loads(one.data or b"")} for one in found]

    found: list[dict[str, Any]] = asked(port, work)
    return found


def row(one: DaemonProcess, name: str) -> dict[str, Any]:
    return next(row for row in one.control.get("/v1/status")["connectors"] if row["name"] == name)


def test_what_is_published_is_stored_once_and_sent_on_once_whoever_is_killed(tmp_path: Path) -> None:
    with serving(tmp_path) as port:
        asked(port, streams)
        publish(port, 0, 600)
        one = daemon(tmp_path, port)
        with one:
            eventually(lambda: row(one, "orders")["applied"] >= 100)
            one.kill()
        with one:
            publish(port, 600, 800)
            eventually(lambda: row(one, "orders")["applied"] == 800)
            eventually(lambda: len(delivered(port)) == 400)
            asked(port, lambda client: client.jetstream().publish("orders.x", b"no json"))
            eventually(lambda: row(one, "orders")["dead_letters"] == 1)

            async def live(client: Client) -> None:
                for n in range(20):
                    await client.publish("live.a", json.dumps({"email": f"l{n}@example.com"}).encode())
                await client.flush()

            asked(port, live)
            eventually(lambda: row(one, "live")["applied"] == 20)
            sent = delivered(port)
    assert len({message["id"] for message in sent}) == len(sent) == 400
    assert {message["type"] for message in sent} == {"order.paid"}
    assert sorted(message["data"]["event"]["data"]["n"] for message in sent) == list(range(1, 800, 2))


def test_a_server_that_goes_or_does_not_let_us_in_is_said_and_waited_for(tmp_path: Path) -> None:
    login = 'username = "cdmd"\npassword = "env:PW"'
    with serving(tmp_path, "--user", "cdmd", "--pass", "wrong") as port:
        one = daemon(tmp_path, port, login)
        with one:
            error = eventually(lambda: row(one, "orders")["error"])
            assert "does not let us in" in error
    with one, serving(tmp_path, "--user", "cdmd", "--pass", "right", port=port):
        error = eventually(lambda: "no stream ORDERS" in (row(one, "orders")["error"] or "") and row(one, "orders")["error"])
        assert "make it" in error
