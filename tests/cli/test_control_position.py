"""``cdmctl position``."""

from tests.cli.calling import Cdmctl
from tests.control.doubles import MemoryRuntime


def test_streams_show_where_they_stand(cdmctl: Cdmctl) -> None:
    status, out, _ = cdmctl("position", "crm")
    assert (status, [line.split()[1] for line in out.splitlines()[1:]]) == (0, ["contacts", "orders"])
    rows = cdmctl("position", "crm.orders", "--json").json
    assert rows == [
        {"connector": "crm", "name": "orders", "state": "known", "position": "2026-01-01T00:00:00Z", "asks_from": None}
    ]
    assert cdmctl("position", "crm", role="reader").status == 0


def test_a_stream_is_let_go_on_elsewhere_and_begin_all_over(cdmctl: Cdmctl, runtime: MemoryRuntime) -> None:
    assert cdmctl("position", "crm.contacts", "--set", "2026-02-01T00:00:00Z", "--yes").status == 0
    assert cdmctl("position", "one", "--reset", "--yes").status == 0
    assert runtime.done == [
        ("positions", "set", "crm", "contacts=2026-02-01T00:00:00Z"),
        ("positions", "reset", "one", "events"),
    ]


def test_what_is_not_clear_changes_nothing(cdmctl: Cdmctl, runtime: MemoryRuntime) -> None:
    assert cdmctl("position", "crm", "--reset", "--set", "1", "--yes").err.endswith("--set and --reset exclude each other\n")
    assert cdmctl("position", "crm", "--reset", "--yes").err.endswith("say which stream: crm.contacts, crm.orders\n")
    status, _, err = cdmctl("position", "crm.contact", "--reset", "--yes")
    assert (status, err) == (4, "cdmctl: crm has no stream 'contact' with a position\n")
    assert cdmctl("position", "crm.contacts", "--reset").status == 2, "nobody is there to confirm"
    assert cdmctl("position", "crm.contacts", "--reset", "--yes", role="reader").status == 5
    assert runtime.done == []
