"""What is kept for how long: by type, by how long nothing was heard, and what a simulation says of it."""

from datetime import UTC, datetime

from cdmd.config.governing import PrivacySettings, RetentionSettings
from cdmd.kit.quantities import Duration
from cdmd.models import Activity, Event, Micros, ProfileKey, ProfileState, Seq, to_micros
from cdmd.privacy.retention import NOW, Retention, by_month, shorter

DAY = 86_400_000_000
START = datetime(2026, 11, 23, tzinfo=UTC)
AT = to_micros(START)


def days(number: int) -> Duration:
    return Duration.parse(f"{number}d")


SETTINGS = PrivacySettings(
    retention=(
        RetentionSettings(events=("page.seen",), keep=days(10)),
        RetentionSettings(events=("page.*", "ad.*"), keep=days(90)),
    ),
    idle_profiles=days(1000),
)


def activity(seq: int, kind: str, *, profile: int = 1, age: int = 0) -> Activity:
    event = Event(id=str(seq), source="shop", type=kind, received=START)
    return Activity(seq=Seq(seq), profile=ProfileKey(profile), time=Micros(AT - age * DAY), event=event, rule="new")


def test_the_first_entry_that_matches_counts_and_what_matches_none_stays() -> None:
    retention = Retention(SETTINGS)
    assert retention.ends(activity(1, "page.seen")) == AT + 10 * DAY
    assert retention.ends(activity(1, "page.left")) == AT + 90 * DAY
    assert retention.ends(activity(1, "order.paid")) is None
    assert retention
    assert not Retention(PrivacySettings())


def test_what_is_due_comes_profile_by_profile() -> None:
    rows = [
        activity(1, "page.seen", profile=2, age=10),
        activity(2, "page.seen", profile=1, age=11),
        activity(3, "page.seen", profile=1, age=9),
        activity(4, "page.left", profile=2, age=90),
        activity(5, "order.paid", age=4000),
    ]
    assert Retention(SETTINGS).due(rows, AT) == [2, 1, 4]


def test_a_profile_goes_when_nothing_was_heard_of_it_for_so_long_and_with_the_one_it_is_part_of() -> None:
    retention = Retention(SETTINGS)
    assert retention.ends_profile(ProfileState("p", AT, AT)) == AT + 1000 * DAY
    assert retention.ends_profile(ProfileState("p", AT, AT, merged_into=2)) is None
    assert Retention(PrivacySettings()).ends_profile(ProfileState("p", AT, AT)) is None


def test_a_simulation_says_what_goes_at_once_and_in_the_months_to_come() -> None:
    ends = [None, AT - 1, AT, AT + DAY, AT + 10 * DAY, AT + 400 * DAY]
    assert by_month(ends, AT, months=6) == {NOW: 2, "2026-11": 1, "2026-12": 1}


def test_a_copy_of_everything_is_never_kept_longer_than_what_goes_first() -> None:
    assert shorter(7 * 86_400.0, SETTINGS) == 7 * 86_400.0
    assert shorter(30 * 86_400.0, SETTINGS) == 10 * 86_400.0
    assert shorter(30.0, PrivacySettings()) == 30.0


def test_types_come_from_outside_and_are_not_remembered_without_end(monkeypatch: object) -> None:
    retention = Retention(SETTINGS)
    for number in range(5000):
        retention.ends(activity(1, f"page.{number}"))
    assert len(retention._by_type) <= 4096
