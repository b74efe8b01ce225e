"""Who is who in the real daemon, over kills: merges undone, rules tried, history resolved anew, people stored and not used."""

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cdmd.testing import DaemonProcess
from tests.acceptance.trial import until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

SHOP = '[connectors.shop]\ntype = "webhook"\nverify = "none"\n'
MANY = '[connectors.many]\ntype = "webhook"\nverify = "none"\nrecords = "{events[*]}"\n'
COUNTED = '[indicators.orders]\non = "order"\n[audiences.buyers]\nwhere = "indicators.orders >= 2"\n'
KINDS = """[identity.identifiers]
user_id = { priority = 1, limit = 1 }
email = { priority = 2, limit = 5 }
anonymous_id = { priority = 9, limit = 50DEVICES }
"""
JOINING, APART = KINDS.replace("DEVICES", ", shared = false"), KINDS.replace("DEVICES", "")
CONFIG = SHOP + MANY + COUNTED
MAILS = ("email:joe@example.com", "email:eve@example.com")
HOMES = 400


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    with DaemonProcess(tmp_path, CONFIG + JOINING) as running:
        yield running


def order(id: str, **identifiers: str) -> dict[str, Any]:
    return {"id": id, "type": "order", "identifiers": identifiers, "traits": {"last": id}}


def shown(one: DaemonProcess, identifier: str) -> tuple[str, Any, list[str], list[str]]:
    """Id, orders, audiences, and the events."""
    found = one.control.get("/v1/profile", {"identifier": identifier})
    return found["id"], found["indicators"].get("orders", 0), found["audiences"], sorted(e["id"] for e in found["activities"])


def sums(one: DaemonProcess) -> None:
    """Each event is somebody's, once, and nothing is damaged."""
    assert one.ask("verify")["whole"] is True
    totals = one.control.get("/v1/status")["totals"]
    assert totals["events"] == totals["activities"]


# ---- split ---------------------------------------------------------------------------------------------------------------


def test_a_split_gives_each_what_they_would_have_had_and_outlives_a_kill_and_whatever_arrives(daemon: DaemonProcess) -> None:
    told = [order("j1", email="joe@example.com"), order("j2", email="joe@example.com", anonymous_id="tv")]
    for event in [*told, order("e1", email="eve@example.com"), order("both", email="eve@example.com", anonymous_id="tv")]:
        daemon.send("/hooks/shop", event)
        daemon.settle()
    one, other = (shown(daemon, mail) for mail in MAILS)
    assert one == other
    assert one[1:] == (4, ["buyers"], ["both", "e1", "j1", "j2"])
    assert daemon.cdmctl("profile", "split", *MAILS, check=False).returncode == 2, "nobody is there to say yes"
    before = daemon.ask("profile", "split", *MAILS, "--dry-run")
    assert shown(daemon, MAILS[0]) == one
    after = daemon.ask("profile", "split", *MAILS, "--yes")
    daemon.kill()
    daemon.start()
    assert [side["events"] for side in after["sides"]] == [side["events"] for side in before["sides"]] == [2, 2]
    joe, eve = (shown(daemon, mail) for mail in MAILS)
    assert joe == (one[0], 2, ["buyers"], ["j1", "j2"])
    assert eve[1:] == (2, ["buyers"], ["both", "e1"])
    assert eve[0] != joe[0]
    daemon.send("/hooks/shop", order("again", email="eve@example.com", anonymous_id="tv"))
    daemon.settle()
    assert shown(daemon, MAILS[0]) == joe
    assert daemon.ask("profile", "explain", *MAILS)["summary"] == "two people, kept apart by a split for good"
    daemon.cdmctl("profile", "split", *MAILS, "--lift")
    daemon.send("/hooks/shop", order("joined", email="eve@example.com", anonymous_id="tv"))
    daemon.settle()
    assert shown(daemon, MAILS[0])[1] == 6
    sums(daemon)


def test_what_cannot_be_split_is_refused_in_a_sentence(daemon: DaemonProcess) -> None:
    daemon.send("/hooks/shop", order("j1", email="joe@example.com"))
    daemon.settle()
    for arguments, status, why in (
        (("email:joe@example.com", "email:nobody@example.com"), 4, "nobody is known by that email"),
        (("email:joe@example.com", "email:Joe@Example.com"), 2, "both are the same identifier"),
        (("email:joe@example.com", "email:null"), 2, "identifies nobody"),
        (("email:joe@example.com", "shoe:44"), 2, "write KIND:VALUE twice"),
        (("email:joe@example.com", "email:joe@example.com", "--lift"), 2, "not kept apart by a split"),
    ):
        ran = daemon.cdmctl("profile", "split", *arguments, *(() if "--lift" in arguments else ("--yes",)), check=False)
        assert (ran.returncode, why in ran.stderr) == (status, True), (arguments, ran.stderr)


# ---- try and rebuild -----------------------------------------------------------------------------------------------------


def homes(daemon: DaemonProcess, count: int = HOMES) -> None:
    """As many families of two with one tablet, who are one by rules that let a device join."""
    told = [
        order(f"{n}-{who}", email=f"{who}{n}@example.com", anonymous_id=f"tablet-{n}") for who in "ab" for n in range(count)
    ]
    for start in range(0, len(told), 200):
        daemon.send("/hooks/many", {"events": told[start : start + 200]})
    daemon.settle(seconds=60)


def profiles(daemon: DaemonProcess) -> int:
    return int(daemon.control.get("/v1/status")["totals"]["profiles"])


def people(daemon: DaemonProcess, numbers: Sequence[int]) -> list[tuple[str, Any, list[str], list[str]]]:
    return [shown(daemon, f"email:{who}{number}@example.com") for number in numbers for who in "ab"]


def test_rules_are_tried_beside_the_store_and_nothing_changes(daemon: DaemonProcess, tmp_path: Path) -> None:
    homes(daemon, 20)
    before = people(daemon, [0, 7, 19])
    rules = tmp_path / "rules.toml"
    rules.write_text(APART)
    job = daemon.ask("identity", "try", str(rules))
    assert (job["what"], job["state"]) == ("try", "done")
    report = job["report"]
    assert (report["profiles_before"], report["profiles_after"], report["split"], report["parts"]) == (20, 40, 20, 40)
    assert (report["joined"], len(report["largest_splits"]) > 0) == (0, True)
    assert "20 profiles become 40" in daemon.cdmctl("identity", "status").stdout
    assert people(daemon, [0, 7, 19]) == before
    rules.write_text("[identity.identifiers]\nemail = { limt = 1 }\n")
    refused = daemon.cdmctl("identity", "try", str(rules), check=False)
    assert (refused.returncode, "limt" in refused.stderr) == (2, True)
    rows = [row for row in daemon.ask("audit") if row["command"].startswith("identity")]
    assert [row["outcome"] for row in rows if row["command"] == "identity try"].count("done") == 1


def test_changed_rules_are_applied_to_history_over_kills_while_events_come(daemon: DaemonProcess) -> None:
    homes(daemon)
    assert profiles(daemon) == HOMES
    daemon.configure(CONFIG + APART)
    daemon.cdmctl("reload")
    assert "identity rebuild" in daemon.cdmctl("identity", "rebuild", "--yes").stdout
    seen = set[str]()

    def under_way() -> bool:
        status = daemon.control.get("/v1/status")
        seen.add(json.dumps(status))
        job = daemon.control.get("/v1/identity/job")
        return bool(job["state"] == "running" and job["applied"] >= 20)

    until(under_way, seconds=60, what="some of them being made anew")
    daemon.kill()
    middle = None
    for number in range(3):
        daemon.start()
        middle = middle or profiles(daemon)
        daemon.send("/hooks/shop", order(f"late-{number}", email=f"a{number}@example.com"))
        threading.Event().wait(0.3)
        if number < 2:
            daemon.kill()
    assert HOMES < middle < 2 * HOMES, "it was cut off in the middle"
    until(lambda: daemon.control.get("/v1/identity/job")["state"] == "done", seconds=90, what="the rest of it")
    job = daemon.control.get("/v1/identity/job")
    if job["left"]:  # whoever got an event at that very moment
        daemon.cdmctl("identity", "rebuild", "--yes", "--wait")
    assert profiles(daemon) == 2 * HOMES
    for number in (0, 1, 2, HOMES - 1):
        late = [f"late-{number}"] if number < 3 else []
        one, other = people(daemon, [number])
        assert one[1:] == (1 + len(late), ["buyers"] if late else [], sorted([f"{number}-a", *late]))
        assert other[1:] == (1, [], [f"{number}-b"])
    assert any("identities are rebuilt" in said for said in seen), "status says so"
    sums(daemon)
    report = daemon.ask("identity", "rebuild", "--dry-run")["report"]
    assert report["changed"] == 0, "once is enough"


# ---- restriction ---------------------------------------------------------------------------------------------------------


def test_whoever_is_restricted_is_stored_and_not_used_until_that_is_taken_back(daemon: DaemonProcess) -> None:
    for number, who in enumerate(("joe", "joe", "eve")):
        daemon.send("/hooks/shop", order(f"j{number}", email=f"{who}@example.com", anonymous_id="tv"))
    daemon.settle()
    assert shown(daemon, MAILS[0])[2] == ["buyers"]
    assert "stored, in no audience, told to no target" in daemon.cdmctl("profile", "restrict", MAILS[0]).stderr
    daemon.kill()
    daemon.start()
    assert "restricted  stored, and not used" in daemon.cdmctl("profile", "show", MAILS[0]).stdout
    daemon.send("/hooks/shop", order("j3", email="joe@example.com"))
    daemon.settle()
    assert shown(daemon, MAILS[0])[1:3] == (4, [])
    assert daemon.cdmctl("audience", "members", "buyers").stdout == ""
    lines = [json.loads(line) for line in daemon.cdmctl("profile", "export", MAILS[0]).stdout.splitlines()]
    assert [line["restricted"] for line in lines if line["type"] == "restriction"] == [True]
    daemon.cdmctl("profile", "split", *MAILS, "--yes")
    assert [shown(daemon, mail)[1:3] for mail in MAILS] == [(3, []), (1, [])], "nobody knows of whom it was said"
    assert daemon.ask("profile", "unrestrict", MAILS[0])["audiences"] == ["buyers"]
    assert daemon.ask("profile", "restrict", MAILS[1])["changed"] is False
    assert daemon.cdmctl("profile", "restrict", "email:nobody@example.com", check=False).returncode == 4
    moved = daemon.control.get("/v1/audience-changes", {"audience": "buyers"})
    assert [(move["type"], move["reason"]) for move in moved] == [
        ("audience.entered", "processing is no longer restricted"),
        ("audience.left", "processing was restricted"),
        ("audience.entered", "event order"),
    ]
    rows = [row["command"] for row in daemon.ask("audit") if "restrict" in row["command"]]
    assert rows == ["profile restrict", "profile restrict", "profile unrestrict", "profile restrict"]
