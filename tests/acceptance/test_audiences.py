"""Audiences in the real daemon: by events, by the clock alone, over the stored past, killed at any moment."""

import json
import random
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from cdmd.testing import DaemonProcess
from tests.acceptance.trial import until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]

SHOP = '[connectors.shop]\ntype = "webhook"\nverify = "none"\n'
RECENT = '[indicators.recent]\non = "order.*"\nwindow = "4s"\n'
ORDERS = '[indicators.orders]\non = "order.*"\n[indicators.spent]\non = "order.*"\nvalue = "{data.total}"\ncompute = "sum"\n'
BUSY = '[audiences.busy]\nwhere = "indicators.recent >= 2"\n'
MANY = '[audiences.many]\nwhere = "indicators.orders >= 3 && indicators.spent > 20.0"\n'
PLUGINS = {"ticking": "tests.acceptance.ticking"}
ROOT = Path(__file__).parents[2]


def started(folder: Path, config: str) -> DaemonProcess:
    return DaemonProcess(folder, config, plugins=PLUGINS, paths=[ROOT])


def order(number: int, customer: int) -> dict[str, Any]:
    return {
        "id": f"o{number}",
        "type": "order.paid",
        "identifiers": {"email": f"u{customer}@example.com"},
        "data": {"total": 10},
    }


def members(one: DaemonProcess, name: str) -> list[str]:
    lines = one.cdmctl("audience", "members", name, "--json").stdout.splitlines()
    return sorted(json.loads(line)["identifiers"][0]["value"] for line in lines)


def count(one: DaemonProcess, name: str) -> int:
    return next(int(row["members"]) for row in one.control.get("/v1/audiences") if row["name"] == name)


def moves(one: DaemonProcess, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = one.control.get("/v1/audience-changes", {"audience": name, "limit": 10_000})
    return found[::-1]


def test_customers_enter_with_an_event_and_leave_by_the_clock_however_often_the_daemon_is_killed(tmp_path: Path) -> None:
    chance = random.Random(1)
    one = started(tmp_path, SHOP + RECENT + BUSY)
    with one:
        for number in range(40):
            one.send("/hooks/shop", order(number, number // 2))
        one.settle()
        assert count(one, "busy") == 20
        assert members(one, "busy") == sorted(f"u{number}@example.com" for number in range(20))
        for _ in range(4):
            threading.Event().wait(chance.uniform(0.2, 1.5))
            one.kill()
            one.start()
        until(lambda: count(one, "busy") == 0, seconds=60, what="the last of them leaving")
        assert one.control.get("/v1/status")["audiences"]["expiry_lag_seconds"] == 0
        told = defaultdict(list)
        for move in moves(one, "busy"):
            told[move["profile"]].append((move["type"], move["reason"]))
        assert len(told) == 20
        assert all(
            said == [("audience.entered", "event order.paid"), ("audience.left", "time passed")] for said in told.values()
        )
        assert len({move["id"] for move in moves(one, "busy")}) == 40
        assert one.ask("profile", "show", "email:u1@example.com")["audiences"] == []
        assert one.ask("verify")["whole"]


def test_what_is_new_counts_the_stored_past_beside_live_events_and_over_kills(tmp_path: Path) -> None:
    chance = random.Random(2)
    one = started(tmp_path, SHOP)
    with one:
        batch = [order(number, number % 500) for number in range(2000)]
        for start in range(0, len(batch), 100):
            for event in batch[start : start + 100]:
                one.send("/hooks/shop", event)
        one.settle()
        one.configure(SHOP + ORDERS + MANY)
        one.cdmctl("reload")
        for number in range(3):
            threading.Event().wait(chance.uniform(0.05, 0.4))
            one.send("/hooks/shop", order(5000 + number, number))
            one.kill()
            one.start()
        until(lambda: one.control.get("/v1/status")["audiences"]["counting"] is None, seconds=40, what="the count")
        one.settle()
        assert count(one, "many") == 500
        for customer, orders in ((0, 5), (2, 5), (3, 4), (499, 4)):
            shown = one.ask("profile", "show", f"email:u{customer}@example.com")
            assert (shown["indicators"], shown["audiences"]) == ({"orders": orders, "spent": orders * 10.0}, ["many"])
        assert {move["reason"] for move in moves(one, "many")} <= {"computed from what is stored", "event order.paid"}
        one.configure(SHOP + ORDERS)
        one.cdmctl("reload")
        until(lambda: len(moves(one, "many")) == 1000, seconds=60, what="everybody leaving")
        assert moves(one, "many")[-1]["reason"] == "no longer configured"
        assert one.ask("audiences") == []
        assert one.ask("verify")["whole"]


def test_a_condition_is_tried_before_it_is_saved_and_one_that_fails_is_seen(tmp_path: Path) -> None:
    odd = "[audiences.odd]\nwhere = \"profile.traits.age > 'x'\"\n"
    with started(tmp_path, SHOP + ORDERS + odd) as one:
        for number in range(6):
            one.send("/hooks/shop", order(number, number % 2) | {"traits": {"age": number}})
        one.settle()
        found = one.ask("audience", "try", "indicators.orders >= 3 && profile.traits.age > 4")
        assert (found["profiles"], found["matched"], len(found["sample"])) == (2, 1, 1)
        (row,) = one.ask("audiences")
        assert row["members"] == 0
        assert row["failed"] >= 6, "once for each event, and again where the stored past is counted"
        assert "kinds of values do not fit together" in row["error"]
        refused = one.cdmctl("audience", "try", "indicators.oders > 1", check=False)
        assert (refused.returncode, "did you mean orders?" in refused.stderr) == (2, True)
        one.configure(SHOP + ORDERS + '[audiences.new]\nwhere = "indicators.oders > 1"\n')
        refused = one.cdmctl("reload", check=False)
        assert refused.returncode == 6
        assert "audiences.new.where: there is no indicator oders (did you mean orders?)" in refused.stderr
