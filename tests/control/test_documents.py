import json
from datetime import UTC, datetime

import msgspec

from cdmd.control.documents import encoded


class Shape(msgspec.Struct):
    at: datetime | None
    rows: tuple[dict[str, object], ...] = ()


def test_times_have_no_more_decimals_than_they_need_wherever_they_stand() -> None:
    exact = datetime(2026, 11, 23, 10, tzinfo=UTC)
    shape = Shape(exact, ({"since": exact.replace(microsecond=120_000), "n": [exact.replace(microsecond=1)]},))
    assert json.loads(encoded(shape)) == {
        "at": "2026-11-23T10:00:00Z",
        "rows": [{"since": "2026-11-23T10:00:00.120Z", "n": ["2026-11-23T10:00:00.000001Z"]}],
    }
    given = {"at": [exact], "said": [Shape(exact)]}
    assert json.loads(encoded(given))["said"] == [{"at": "2026-11-23T10:00:00Z", "rows": []}]
    assert given == {"at": [exact], "said": [Shape(exact)]}, "nobody else's document is written into"
    assert json.loads(encoded(Shape(None))) == {"at": None, "rows": []}
