"""Whole registers with the real daemon and the real sshd: about everybody, by digests, and cut at any byte."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from cdmd.testing import DaemonProcess
from tests.acceptance.test_files import on_the_disk, row_of, wait
from tests.peers.sshd import MISSING, Sshd, sshd

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.timeout(180),
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
]
OVER = {"done", "duplicate", "quarantined"}
CONFIG = """
format = {{ type = "csv" }}
stable_for = "0s"
every = "1s"
mode = "snapshot"
{more}
[connectors.shop]
type = "webhook"
verify = "none"
"""
PLAIN = """
[connectors.sup.event]
type = "customer.{change}"
identifiers = { email = "{email}" }
traits = { city = "{city}" }
"""
BY_DIGEST = """
[connectors.sup.event]
type = "customer.{change}"
identifiers = { email_sha256 = "{email_sha256}" }
traits = { city = "{city}" }
"""


def daemon(folder: Path, server: Sshd, more: str, *, identity: str = "") -> DaemonProcess:
    config = server.connector(folder / "in") + CONFIG.format(more=more) + identity
    return DaemonProcess(folder, config, environment=server.environment)


def put(area: Path, name: str, content: str) -> None:
    """As a supplier does who knows how: under another name first."""
    (area / f"{name}.part").write_text(content)
    (area / f"{name}.part").rename(area / name)


def read(one: DaemonProcess, name: str) -> dict[str, Any]:
    """The file's row once it was read."""

    def over() -> bool:
        return any(row["name"] == name and row["state"] in {"done", "quarantined"} for row in one.ask("files"))

    wait(over)
    one.settle()
    found: dict[str, Any] = next(row for row in one.ask("files") if row["name"] == name)
    return found


def meet(one: DaemonProcess, email: str) -> None:
    one.send("/hooks/shop", {"type": "seen", "id": email, "identifiers": {"email": email}})
    one.settle()


def types_of(one: DaemonProcess, email: str) -> list[str]:
    found = one.ask("profile", "show", f"email:{email}")
    return [activity["type"] for activity in reversed(found["activities"])]


def test_of_a_register_about_everybody_only_known_people_are_remembered_and_new_customers_are_found_in_the_next(
    tmp_path: Path,
) -> None:
    area = tmp_path / "in"
    area.mkdir()
    strangers = "".join(f"canary{number}@example.com,canaryville\n" for number in range(2000))
    with sshd(tmp_path / "sshd") as server:
        more = 'key = ["email"]\nknown_only = true\nmax_bad = "100%"\n' + PLAIN
        with daemon(tmp_path, server, more) as one:
            meet(one, "known@example.com")
            put(area, "1.csv", "email,city\n" + strangers + "known@example.com,Lund\nlater@example.com,canaryville\n,canary\n")
            found = read(one, "1.csv")
            assert (found["accepted"], found["filtered"], found["bad"]) == (1, 2001, 1)
            meet(one, "later@example.com")
            put(area, "2.csv", "email,city\n" + strangers + "later@example.com,Ystad\nknown@example.com,Malmo\n")
            found = read(one, "2.csv")
            assert (found["accepted"], found["filtered"], found["bad"]) == (2, 2000, 0)
            assert types_of(one, "known@example.com") == ["seen", "customer.added", "customer.changed"]
            assert types_of(one, "later@example.com") == ["seen", "customer.added"]
            (held,) = one.ask("snapshot")
            assert (held["rows"], held["state"]) == (2, "applied"), "nobody else is remembered, so nobody else is missed"
            put(area, "3.csv", "email,city\n" + strangers + "known@example.com,Malmo\n")
            assert (read(one, "3.csv")["accepted"], row_of(one)["applied"]) == (1, 4)
            assert types_of(one, "later@example.com") == ["seen", "customer.added", "customer.removed"]
            assert on_the_disk(one.state_dir, b"canary") == []
            assert b"canary" not in one.log_file.read_bytes()
            one.kill()
        assert on_the_disk(one.state_dir, b"canary") == []


def test_a_supplier_that_delivers_digests_finds_our_customers_whenever_they_came(tmp_path: Path) -> None:
    area, identity = tmp_path / "in", "[identity.identifiers]\nemail = {}\n"
    area.mkdir()

    def row(email: str, city: str) -> str:
        return f"{sha256(email.encode()).hexdigest().upper()},{city}\n"

    with sshd(tmp_path / "sshd") as server:
        more = 'key = ["email_sha256"]\nknown_only = true\n' + BY_DIGEST
        with daemon(tmp_path, server, more, identity=identity) as one:
            meet(one, "before@example.com")
        with daemon(tmp_path, server, more, identity=identity + "email_sha256 = {}\n") as one:
            strangers = [row(f"stranger{number}@example.com", "Canaryville") for number in range(500)]
            put(area, "1.csv", "email_sha256,city\n" + "".join(strangers) + row("before@example.com", "Lund"))
            found = read(one, "1.csv")
            assert (found["accepted"], found["filtered"]) == (1, 500)
            meet(one, "After@Example.com")
            put(area, "2.csv", "email_sha256,city\n" + row("after@example.com", "Ystad") + row("before@example.com", "Lund"))
            assert read(one, "2.csv")["accepted"] == 1
            for email, city in (("before@example.com", "Lund"), ("after@example.com", "Ystad")):
                shown = one.ask("profile", "show", f"email:{email}")
                assert shown["traits"] == {"city": city}
                assert types_of(one, email) == ["seen", "customer.added"]
            assert on_the_disk(one.state_dir, b"Canaryville") == []
            for number in (0, 499):
                digest = sha256(f"stranger{number}@example.com".encode()).hexdigest().encode()
                assert on_the_disk(one.state_dir, digest) + on_the_disk(one.state_dir, digest.upper()) == []


def hurry(one: DaemonProcess, name: str) -> dict[str, Any]:
    """The file's row once it was read, without waiting for its connector to look by itself."""
    found: list[dict[str, Any]] = []

    def over() -> bool:
        one.control.post("/v1/connectors/sup/poll")
        rows = one.control.get("/v1/shelves/files", {"connector": "sup"})
        found[:] = [row for row in rows if row["name"] == name and row["state"] in OVER]
        return bool(found)

    wait(over)
    return found[0]


def test_a_register_cut_at_any_byte_removes_nobody(tmp_path: Path) -> None:
    area, cuts = tmp_path / "in", 30
    area.mkdir()
    whole = "email,city\n" + "".join(f"u{number}@example.com,Lund\n" for number in range(400))
    places = [place * len(whole) // cuts + place % 7 for place in range(cuts)]
    places += [whole.rindex("\n", 0, len(whole) - 10 * step) + 1 for step in (1, 30, 60, 200)]  # at a line's end
    more = 'key = ["email"]\nafter = "delete"\n' + PLAIN + '[indicators.removed]\non = ["customer.removed"]\n'
    with sshd(tmp_path / "sshd") as server, daemon(tmp_path, server, more) as one:
        put(area, "whole.csv", whole)
        assert hurry(one, "whole.csv")["accepted"] == 400
        held = 0
        for number, place in enumerate(places):
            put(area, f"{number}.csv", whole[:place])
            row = hurry(one, f"{number}.csv")
            (applied,) = one.control.get("/v1/shelves/snapshots")
            if row["state"] == "done":
                assert applied["name"] == f"{number}.csv"
                assert applied["removed"] == 0, f"cut at byte {place}"
                held += bool(applied["held"])
            put(area, f"{number}-whole.csv", whole)
            hurry(one, f"{number}-whole.csv")
        one.settle()
        assert held > cuts / 2
        profiles = one.control.get("/v1/status")["totals"]["profiles"]
        assert profiles == 400
