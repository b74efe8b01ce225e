"""What the overview makes of the status: what needs a look, how urgent it is, and how it is drawn."""

from typing import Any

from cdmd.console import plots, words
from cdmd.console.overview import severity, troubles
from tests.control.doubles import Daemon


def row(**changed: Any) -> dict[str, Any]:
    return {
        "name": "shop",
        "state": "running",
        "since": "2026-11-23T09:00:00Z",
        "error": None,
        "freshness_seconds": 1.0,
        "freshness_objective_seconds": 5.0,
        "last_event": "2026-11-23T10:00:00Z",
        "next": None,
        "streams": [],
        **changed,
    }


def test_what_stands_still_is_more_urgent_than_what_is_late_and_what_somebody_holds_is_not_trouble() -> None:
    assert severity(row()) == 0
    assert severity(row(state="paused")) == 1
    assert severity(row(freshness_seconds=6.0)) == 2
    assert severity(row(freshness_seconds=None)) == 0
    assert severity(row(freshness_seconds=6.0, freshness_objective_seconds=None)) == 0
    assert severity(row(state="degraded", error="the host does not answer")) == 3


def test_troubles_say_where_why_and_since_when_the_gravest_first(daemon: Daemon) -> None:
    status = daemon.client().get("/v1/status")
    status |= {"connectors": [row(name="late", freshness_seconds=6.0), row(name="dead", state="failed", error="no route")]}
    status |= {"warnings": ["the disk is full"], "plugins": [{"name": "warranty", "state": "load error", "error": "it raised"}]}
    status["connectors"].append(
        row(name="crm", state="degraded", error="no answer", freshness_seconds=700.0, next="2026-11-23T10:00:09Z")
    )
    status["targets"] = daemon.client().get("/v1/targets")
    found = [(one.where, one.text) for one in troubles(status)]
    assert found == [
        ("cdmd", "the disk is full"),
        ("dead", "no route"),
        ("crm", "no answer, for 12 min"),
        ("late", "6 s behind, where 5 s are wanted"),
        ("crm", "it answers with status 500"),
        ("warranty", "it raised"),
    ]
    assert [(one.said, one.when) for one in troubles(status)[1:4]] == [
        ("began", "2026-11-23T09:00:00Z"),
        ("began", "2026-11-23T09:00:00Z"),
        ("last event", "2026-11-23T10:00:00Z"),
    ], "a push connector, too, says since when it does not run"


def test_a_counter_that_began_anew_has_no_rate_there() -> None:
    assert plots.rates([None, 10, 30, 5, 25], 10) == [None, 2.0, None, 2.0]


def test_a_long_series_is_thinned_to_what_can_be_seen() -> None:
    series: list[float | None] = [float(number) for number in range(360)]
    assert len(plots.thinned(series)) == 60
    assert plots.thinned(series, highest=True)[-1] == 359
    assert plots.thinned([1.0, None, 3.0], 1) == [2.0]
    assert plots.thinned([]) == []


def test_a_line_has_a_gap_where_nothing_is_known_and_nothing_is_drawn_of_nothing() -> None:
    drawn = plots.plot([[0.0, None, 4.0, 4.0]], step=10, width=30, height=22, words="", mark=8.0)
    assert drawn is not None
    assert list(drawn.paths) == ["M0.0 21.0M20.0 11.0L30.0 11.0"]
    assert (drawn.top, drawn.mark, drawn.latest) == (8.0, 1.0, 4.0)
    assert plots.plot([[None, None]], step=10, width=30, height=22, words="") is None
    assert plots.plot([[1.0]], step=10, width=30, height=22, words="") is None


def test_numbers_are_written_as_people_read_them() -> None:
    assert [words.span(one) for one in (None, 0, 0.02, 1.5, 5.0, 12, 130, 7300, 200_000)] == [
        *("\N{EN DASH}", "0 s", "20 ms", "1.5 s", "5 s", "12 s", "2 min", "2 h", "2 d")
    ]
    assert [words.rate(one) for one in (None, 0, 0.01, 2.25, 1234)] == [
        "\N{EN DASH}",
        "0/s",
        "0.6/min",
        "2.2/s",
        "1\u202f234/s",
    ]
    assert [words.size(one) for one in (None, 5, 2048, 5 << 30)] == ["\N{EN DASH}", "5 B", "2.0 KiB", "5.0 GiB"]
