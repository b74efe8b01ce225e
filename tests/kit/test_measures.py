"""Numbers as people read them."""

import pytest

from cdmd.kit.measures import several


@pytest.mark.parametrize(
    ("count", "things", "said"),
    [
        (1, "events", "1 event"),
        (0, "events", "0 events"),
        (2, "activities", "2 activities"),
        (1, "activities", "1 activity"),
        (1, "dead letters", "1 dead letter"),
        (1, "deliveries pending", "1 delivery pending"),
    ],
)
def test_one_of_them_is_not_called_several(count: int, things: str, said: str) -> None:
    assert several(count, things) == said
