"""The last hour in memory: bounded, in order, and of those that are here."""

from datetime import UTC, datetime

from cdmd.daemon.history import History, Measured

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)


def take(history: History, number: int, **received: float) -> None:
    connectors = [(name, Measured(count, None, 0.0)) for name, count in received.items()]
    history.take(NOW, (number, number - 1, 1), connectors)


def test_samples_come_back_in_order_and_only_so_many_are_kept() -> None:
    history = History(size=3)
    assert history.report().journaled == []
    for number in range(1, 6):
        take(history, number, shop=number * 10)
    report = history.report(["shop"])
    assert (report.journaled, report.applied, report.backlog) == ([3, 4, 5], [2, 3, 4], [1, 1, 1])
    assert report.connectors[0].received == [30, 40, 50]
    assert report.connectors[0].freshness_seconds == [None, None, None]
    assert report.until == NOW
    only = history.report(["shop"], ["backlog"]).connectors[0]
    assert (only.received, only.freshness_seconds, only.backlog) == ([], [], [0, 0, 0])


def test_a_connector_that_came_later_has_nothing_before_and_one_that_left_is_forgotten() -> None:
    history = History(size=4)
    take(history, 1, old=1)
    take(history, 2, old=2, young=7)
    assert [one.received for one in history.report(["young"]).connectors] == [[None, 7]]
    take(history, 3, young=8)
    assert [one.name for one in history.report(["old", "young", "nobody"]).connectors] == ["young"]
    take(history, 4, old=9, young=8)
    assert history.report(["old"]).connectors[0].received == [None, None, None, 9]


def test_no_more_connectors_have_a_history_than_there_is_room_for() -> None:
    history = History(size=2, most=2)
    take(history, 1, a=1, b=1, c=1)
    assert [one.name for one in history.report(["a", "b", "c"]).connectors] == ["a", "b"]
