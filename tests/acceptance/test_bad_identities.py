"""Identifiers of bad data at the real daemon: nothing merges that must not, what is refused is seen, nothing stalls."""

import base64
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cdmd.errors import NotFound
from cdmd.testing import DaemonProcess
from tests.acceptance.trial import check_sums, rows, until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

CONFIG = """
[connectors.many]
type = "webhook"
verify = "none"
records = "{events[*]}"
[connectors.shop]
type = "webhook"
verify = "none"
[connectors.app]
type = "application"
write_keys = ["env:KEY"]
quota = "100000/1s"
[indicators.orders]
on = "order"
[indicators.spent]
on = "order"
value = "{data.total}"
compute = "sum"
[audiences.large]
where = "indicators.spent > 50.0"
[audiences.older]
where = "profile.traits.age > 17"
[audiences.listed]
where = "profile.traits.tags.exists(tag, tag == 'x')"
"""
KEY = {"authorization": "Basic " + base64.b64encode(b"key:").decode()}
NOTHING = (
    "null",
    "NULL",
    "0000",
    "00000000-0000-0000-0000-000000000000",
    "test@test",
    "n/a",
    "undefined",
    "-1",
    "unknown",
    "  ",
    "None",
)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    with DaemonProcess(tmp_path, CONFIG, environment={"KEY": "key"}) as running:
        yield running
        assert running.ask("verify")["whole"] is True
        for row in rows(running).values():
            check_sums(row)


def order(id: str, identifiers: Mapping[str, str], *, total: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"id": id, "type": "order", "identifiers": identifiers, "data": {"total": total}, **more}


def tell(daemon: DaemonProcess, events: Sequence[dict[str, Any]], *, at_once: int = 500) -> None:
    for start in range(0, len(events), at_once):
        daemon.send("/hooks/many", {"events": events[start : start + at_once]})
    daemon.settle(seconds=60)


def shown(daemon: DaemonProcess, identifier: str) -> dict[str, Any]:
    found: dict[str, Any] = daemon.control.get("/v1/profile", {"identifier": identifier, "activities": 0})
    return found


def is_known(daemon: DaemonProcess, identifier: str) -> bool:
    try:
        return bool(shown(daemon, identifier))
    except NotFound:
        return False


def profiles(daemon: DaemonProcess) -> int:
    return int(daemon.control.get("/v1/status")["totals"]["profiles"])


def test_what_stands_for_nothing_joins_nobody_and_is_counted(daemon: DaemonProcess) -> None:
    kinds = ("user_id", "customer_no", "phone", "anonymous_id")
    told = [
        order(f"n{number}", {"email": f"u{number}@example.com", kinds[number % 4]: NOTHING[number % len(NOTHING)]})
        for number in range(440)
    ]
    tell(daemon, [*told, *(order(f"m{number}", {"email": text}) for number, text in enumerate(NOTHING))])
    row = rows(daemon)["many"]
    assert profiles(daemon) == 440
    assert (row["unusable"], row["unattributed"]) == (440 + len(NOTHING), len(NOTHING))
    assert [one["kind"] for one in shown(daemon, "email:u7@example.com")["identifiers"]] == ["email"]
    refused = daemon.cdmctl("profile", "show", "user_id:null", check=False)
    assert (refused.returncode, refused.stderr) == (4, "cdmctl: nobody is known by that user_id: its value is blocked\n")


def test_a_device_of_ten_thousand_users_joins_none_of_them_and_holds_nobody_up(daemon: DaemonProcess) -> None:
    told = [order(f"d{number}", {"email": f"u{number}@example.com", "anonymous_id": "kiosk"}) for number in range(10_000)]
    tell(daemon, told)
    assert profiles(daemon) == 10_000
    assert rows(daemon)["many"]["kept_apart"] == 9_999
    told_why = daemon.ask("profile", "explain", "email:u1@example.com", "anonymous_id:kiosk")
    assert told_why["summary"].endswith("anonymous_id given up: shared with another email")
    assert len(shown(daemon, "anonymous_id:kiosk")["identifiers"]) == 2


def test_a_loop_of_aliases_ends_and_a_second_user_of_what_was_one_before_is_kept_apart(daemon: DaemonProcess) -> None:
    names = [f"a{number}" for number in range(20)]
    loop = list(zip(names, [*names[1:], names[0]], strict=True))
    for number, (previous, user) in enumerate([*loop, *loop, ("a0", "a5")]):
        body = {"userId": user, "previousId": previous, "messageId": f"m{number}"}
        daemon.send("/v1/alias", body, headers=KEY)
    daemon.settle()
    assert profiles(daemon) == 20
    assert all(len(shown(daemon, f"user_id:{name}")["identifiers"]) == 2 for name in names)
    assert rows(daemon)["app"]["kept_apart"] == 1
    assert "given up: " in daemon.ask("profile", "explain", "user_id:a5", "anonymous_id:a0")["summary"]


def test_an_identifier_of_ten_thousand_characters_is_none_and_its_event_is_kept(daemon: DaemonProcess) -> None:
    long = "x" * 10_000
    tell(daemon, [order("l1", {"user_id": long}), order("l2", {"user_id": long, "email": "joe@example.com"})])
    tell(daemon, [order(f"l{number}", {"email": f"{long}{number}@example.com"}) for number in range(3, 23)], at_once=5)
    row = rows(daemon)["many"]
    assert (profiles(daemon), row["applied"], row["unusable"], row["unattributed"]) == (1, 22, 22, 21)
    assert [one["kind"] for one in shown(daemon, "email:joe@example.com")["identifiers"]] == ["email"]


def test_a_storm_of_merges_ends_at_the_limits_and_others_are_served_meanwhile(daemon: DaemonProcess) -> None:
    tell(daemon, [order(f"a{number}", {"anonymous_id": f"device{number}"}) for number in range(2_000)])
    storm = [order(f"s{number}", {"user_id": "one", "anonymous_id": f"device{number}"}) for number in range(2_000)]
    sending = threading.Thread(target=tell, args=(daemon, storm))
    sending.start()
    daemon.send("/hooks/shop", order("other", {"email": "other@example.com"}))
    until(lambda: is_known(daemon, "email:other@example.com"), seconds=60)
    sending.join()
    mine = shown(daemon, "user_id:one")
    assert sum(one["kind"] == "anonymous_id" for one in mine["identifiers"]) == 50, "the kind's limit"
    assert mine["indicators"]["orders"] == 2_000 + 50
    assert rows(daemon)["many"]["kept_apart"] == 1_950
    assert profiles(daemon) == 2_000 - 49 + 1


def test_events_that_change_one_person_at_once_all_count(daemon: DaemonProcess) -> None:
    forms: list[Mapping[str, str]] = [
        {"user_id": "u1"},
        {"email": "joe@example.com"},
        {"user_id": "u1", "email": "joe@example.com"},
        {"email": "joe@example.com", "phone": "+46701740605"},
        {"phone": "+46701740605", "customer_no": "4711"},
    ]

    def send(number: int) -> None:
        daemon.send("/hooks/shop", order(f"c{number}", forms[number % len(forms)], total=1.5))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(send, range(400)))
    daemon.settle()
    assert profiles(daemon) == 1
    mine = shown(daemon, "customer_no:4711")
    assert (mine["indicators"], mine["audiences"]) == ({"orders": 400, "spent": 600.0}, ["large"])


def test_times_that_cannot_be_are_kept_and_never_lead_anybody_into_the_future(daemon: DaemonProcess) -> None:
    times = (
        "1970-01-01T00:00:00Z",
        "2099-12-31T23:59:59Z",
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z",
    )
    tell(daemon, [order(f"t{number}", {"email": "joe@example.com"}, time=time) for number, time in enumerate(times)])
    bad = ["yesterday", -1e300, 1e300, "2026-13-45", True, {"a": 1}]
    answers = [
        daemon.send("/hooks/shop", order(f"b{number}", {"email": "joe@example.com"}, time=one))
        for number, one in enumerate(bad)
    ]
    daemon.settle()
    assert all(answer.get("rejected") for answer in answers)
    row = rows(daemon)["many"]
    assert row["applied"] + row["dead_letters"] == len(times)
    assert row["clock_ahead"] == 2
    mine = shown(daemon, "email:joe@example.com")
    assert mine["updated"] < "2099"
    assert mine["indicators"]["orders"] == row["applied"]


def test_conditions_that_fail_on_a_type_or_would_not_end_are_false_counted_and_refused(daemon: DaemonProcess) -> None:
    odd: list[Any] = ["x", 18, None, [1], {"a": 1}, True, 1e308, "x" * 5_000, list(range(2_000))]
    tell(
        daemon,
        [
            order(f"o{number}", {"email": f"o{number}@example.com"}, traits={"age": one, "tags": one})
            for number, one in enumerate(odd)
        ],
    )
    found = {row["name"]: row for row in daemon.control.get("/v1/audiences")}
    assert found["older"]["members"] == 2, "18 and 1e308"
    assert found["older"]["failed"] > 0
    assert found["listed"]["failed"] > 0
    assert "kinds of values do not fit together" in found["older"]["error"]
    endless = "profile.traits.tags.all(a, profile.traits.tags.all(b, profile.traits.tags.all(c, a + b + c < 0)))"
    refused = daemon.cdmctl("audience", "try", endless, check=False)
    assert (refused.returncode, "a macro within a macro may never end" in refused.stderr) == (2, True)
