"""A state directory of an earlier version goes on with this one: files in ``kept/``, each written by the version of its time.

In each: 63 events about 20 customers, one of them under two identifiers, and a dead letter; its configuration beside it. A
version that changes a database's schema adds a file that the version before it wrote. ``numbered`` was written by the last
version whose digests of numbered ids did not begin alike: 1,003 rows of a file, and three events. ``splits`` was
written by one whose digests of whom a profile is kept apart from needed no key: Ann, who was split from Joe and merged with
another profile afterwards.
"""

import tarfile
from pathlib import Path

import pytest

from cdmd.testing import DaemonProcess
from tests.acceptance.trial import rows, until
from tests.daemon.older import files_with, plain

KEPT = sorted((Path(__file__).parent / "kept").glob("schema-*.tar.xz"))
SPLITS = Path(__file__).parent / "kept" / "splits.tar.xz"
NUMBERED = Path(__file__).parent / "kept" / "numbered.tar.xz"

pytestmark = [pytest.mark.acceptance]


@pytest.mark.parametrize("kept", KEPT, ids=lambda file: file.name.partition(".")[0])
def test_what_an_earlier_version_knew_is_known_and_goes_on(kept: Path, tmp_path: Path) -> None:
    with tarfile.open(kept) as archive:
        archive.extractall(tmp_path, filter="data")
    config = (tmp_path / "config.toml").read_text()
    with DaemonProcess(tmp_path, config) as one:
        assert one.ask("verify") == {"whole": True, "problems": []}
        totals = one.ask("status")["totals"]
        assert {name: totals[name] for name in ("events", "profiles", "activities", "dead_letters")} == {
            "events": 63, "profiles": 20, "activities": 63, "dead_letters": 1
        }  # fmt: skip
        joined = one.ask("profile", "show", "user_id:u-0")
        assert joined == one.ask("profile", "show", "email:customer0@example.com")
        assert (joined["traits"], joined["indicators"]) == ({"first_name": "Name0"}, {"orders": 4, "spent": 1060.0})
        assert one.ask("events", "show", "evt-7")["traces"][0]["state"] == "applied"
        again = {"id": "evt-20", "type": "order.paid", "identifiers": {"user_id": "u-0"}, "data": {"total": 5}}
        for number in ("evt-20", "evt-new"):
            one.send("/hooks/shop", again | {"id": number})
        one.settle()
        assert one.ask("profile", "show", "user_id:u-0")["indicators"] == {"orders": 5, "spent": 1065.0}, "a repeat is one"
        assert one.ask("dead-letters")[0]["code"] == "null"
        assert one.stop() == 0
        with one:
            assert one.ask("status")["totals"]["events"] == 64


@pytest.mark.parametrize("store", ["", '[store]\nprocess = "own"\n'], ids=["within", "own"])
def test_what_was_applied_before_an_upgrade_is_not_applied_again_whatever_its_id_ends_in(store: str, tmp_path: Path) -> None:
    with tarfile.open(NUMBERED) as archive:
        archive.extractall(tmp_path, filter="data")
    config = (tmp_path / "config.toml").read_text().replace("FOLDER", str(tmp_path))
    (tmp_path / "in" / "orders.csv").touch()
    with DaemonProcess(tmp_path, config + store) as one:
        for number in ("evt-20", "evt-1020", "evt-1021", "evt-1022"):
            one.send("/hooks/shop", {"id": number, "type": "order.paid", "identifiers": {"user_id": "u-0"}})
        until(lambda: looked(one) == ("duplicate", "kept"), what="looking at the file")
        one.cdmctl("files", "replay", "orders.csv")
        until(lambda: rows(one)["erp"]["accepted"] == 2 * 1003, what="reading the file again")
        one.settle()
        totals = one.ask("status")["totals"]
        assert totals["events"] == totals["activities"] == 1003 + 3 + 1, "only evt-1022 is new"


def test_a_split_holds_after_an_upgrade_and_nothing_that_it_said_is_left_without_a_key(tmp_path: Path) -> None:
    with tarfile.open(SPLITS) as archive:
        archive.extractall(tmp_path, filter="data")
    people = [("email", "ann@example.com"), ("email", "joe@example.com")]
    assert all(files_with(plain(pair), tmp_path / "state") for pair in people), "the earlier version wrote them so"
    with DaemonProcess(tmp_path, (tmp_path / "config.toml").read_text()) as one:
        until(lambda: not any(files_with(plain(pair), tmp_path / "state") for pair in people), what="keying what splits said")
        one.send("/hooks/shop", {"id": "9", "type": "seen", "identifiers": {"email": "joe@example.com", "user_id": "ann"}})
        one.settle()
        ann, joe = (one.ask("profile", "show", f"email:{name}@example.com") for name in ("ann", "joe"))
        assert ann["id"] != joe["id"]
        assert one.ask("profile", "explain", *(":".join(pair) for pair in people))["summary"].endswith("split for good")
        assert one.ask("verify") == {"whole": True, "problems": []}


def looked(one: DaemonProcess) -> tuple[str, str]:
    """What became of the file, and what was done with it afterwards."""
    file = one.ask("files", "list")[0]
    return file["state"], file["after"]
