"""Nodes in the summary of a status, also of an older daemon's."""

from typing import Any

from cdmd.cli.control_looking import _node

ROW: dict[str, Any] = {"name": "n1:/s", "roles": ["ingest", "process"], "leads": True, "lanes": {"0": 4, "1": 7}}


def test_a_node_is_a_line_that_says_what_it_does_and_how_it_is() -> None:
    more = {"version": "0.1.0", "state": "running", "uptime_seconds": 90.0, "freshness_seconds": 2.0, "connectors": 3}
    assert _node({**ROW, **more, "silent_seconds": 0.3, "alike": True, "lost": False}) == (
        "n1:/s (ingest, process; leads): 2 lanes, 7 behind, 3 connectors, events visible within 2 s, "
        "running for 90 s, version 0.1.0"
    )
    assert _node({**ROW, "leads": False, "lanes": {}, "silent_seconds": 8.0, "alike": False}) == (
        "n1:/s (ingest, process): 0 lanes, 0 behind, silent for 8 s, other settings than the one that leads"
    )
    degraded = _node({**ROW, **more, "state": "degraded"})
    assert "degraded, up for 90 s" in degraded, "it is not said that it was all that time"
    assert _node({**ROW, "lost": True, "silent_seconds": 80.0}) == "n1:/s: lost, last heard of 80 s ago"


def test_of_an_older_daemon_what_it_says_is_shown() -> None:
    assert _node(ROW) == "n1:/s (ingest, process; leads): 2 lanes, 7 behind"
