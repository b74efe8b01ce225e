"""The bookkeeping of thin keys: nothing notified is ever lost, whatever is cut off when."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cdmd.connectors.thin_keys import (
    LONGEST_DELAY,
    Flight,
    Keys,
    Mark,
    Trouble,
    is_older,
    mark_row,
    read_mark_row,
)

SECOND = 1_000_000


def digest(key: str) -> bytes:
    return key.encode().ljust(16, b"-")


def mark(key: str = "a", stamp: int = 0, version: str | None = None) -> Mark:
    return Mark(key, f"/{key}", stamp, version)


def tell(keys: Keys, key: str = "a", stamp: int = 0) -> int | None:
    generation = keys.notice(digest(key), mark(key, stamp))
    if generation is not None:
        keys.noticed(digest(key), generation, mark(key, stamp))
    return generation


class Lossless(RuleBasedStateMachine):
    """Notifications, fetches and kills in any order: every notification is followed by a fetch that began after it.

    ``disk`` is what the state holds; writes reach it some time after they were decided, in their order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.disk: dict[bytes, Mark] = {}
        self.keys = Keys(settle=0, most=2)
        self.under_way: list[tuple[bytes, int, Mark]] = []
        self.flights: list[tuple[Flight, int]] = []
        self.acknowledged: dict[bytes, int] = {}
        self.fetched: dict[bytes, int] = {}

    def tick(self) -> int:
        self.now += 1
        return self.now

    @rule(key=st.sampled_from("abcd"))
    def notify(self, key: str) -> None:
        said = mark(key, self.tick())
        generation = self.keys.notice(digest(key), said)
        if generation is None:
            self.acknowledged[digest(key)] = said.stamp
        else:
            self.under_way.append((digest(key), generation, said))

    @rule()
    @precondition(lambda self: self.under_way)
    def commit(self) -> None:
        name, generation, said = self.under_way.pop(0)
        self.disk[mark_row(name, generation)] = said
        self.keys.noticed(name, generation, said)
        self.acknowledged[name] = max(said.stamp, self.acknowledged.get(name, 0))

    @rule()
    def begin(self) -> None:
        flight = self.keys.take(self.now)
        if flight is not None:
            assert flight.waiting.digest not in {one.waiting.digest for one, _ in self.flights}, "one fetch of a key at a time"
            self.flights.append((flight, self.tick()))

    @rule(data=st.data())
    @precondition(lambda self: self.flights)
    def deliver(self, data: st.DataObject) -> None:
        flight, began = self.flights.pop(data.draw(st.integers(0, len(self.flights) - 1)))
        name = flight.waiting.digest
        for generation in flight.waiting.generations:
            self.disk.pop(mark_row(name, generation), None)
        self.keys.delivered(flight)
        self.fetched[name] = max(began, self.fetched.get(name, 0))

    @rule(data=st.data())
    @precondition(lambda self: self.flights)
    def fail(self, data: st.DataObject) -> None:
        flight, _ = self.flights.pop(data.draw(st.integers(0, len(self.flights) - 1)))
        self.keys.put_back(flight, Trouble(attempts=1, due=self.now))

    @rule()
    def scan(self) -> None:
        self.keys.overflow = False
        groups: dict[bytes, list[int]] = {}
        for row in self.disk:
            name, generation = read_mark_row(row)
            groups.setdefault(name, []).append(generation)
        for name, generations in groups.items():
            newest = max((self.disk[mark_row(name, one)] for one in generations), key=lambda one: one.stamp)
            self.keys.load(name, generations, newest, Trouble(), now=self.now)

    @rule()
    def kill(self) -> None:
        self.keys, self.flights, self.under_way = Keys(settle=0, most=2), [], []
        self.scan()

    @invariant()
    def what_was_acknowledged_is_fetched_or_on_the_disk(self) -> None:
        for name, stamp in self.acknowledged.items():
            if self.fetched.get(name, 0) < stamp:
                assert any(read_mark_row(row)[0] == name for row in self.disk)

    def teardown(self) -> None:
        """In the end, when all is quiet, every key has been fetched after its last notification."""
        while self.under_way:
            self.commit()
        for flight, _ in self.flights:
            self.keys.put_back(flight, Trouble())
        self.flights = []
        for _ in range(100):
            self.scan()
            self.now += 1
            flight = self.keys.take(self.now)
            if flight is None:
                break
            self.flights.append((flight, self.tick()))
            name = flight.waiting.digest
            for generation in flight.waiting.generations:
                self.disk.pop(mark_row(name, generation), None)
            self.keys.delivered(flight)
            self.fetched[name] = self.now
            self.flights = []
        assert self.disk == {}
        assert all(self.fetched.get(name, 0) >= stamp for name, stamp in self.acknowledged.items())
        assert self.keys.pending == 0


TestLossless = Lossless.TestCase
TestLossless.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_a_key_waits_until_its_notifications_have_settled() -> None:
    keys = Keys(settle=2 * SECOND)
    assert tell(keys, stamp=10) == 0
    assert keys.next_due(10) == 10 + 2 * SECOND
    assert keys.take(10 + SECOND) is None
    assert keys.take(10 + 2 * SECOND) is not None
    assert keys.next_due(10 + 3 * SECOND) is None


def test_an_equal_notification_writes_nothing_and_one_that_says_more_does() -> None:
    keys = Keys(settle=0)
    tell(keys)
    assert keys.notice(digest("a"), mark(stamp=5)) is None
    assert keys.notice(digest("a"), mark(stamp=5, version="2")) == 0
    keys.noticed(digest("a"), 0, mark(stamp=5, version="2"))
    flight = keys.take(9)
    assert flight is not None
    assert flight.waiting.mark.version == "2"
    assert keys.notice(digest("a"), mark(stamp=6)) == 1
    keys.noticed(digest("a"), 1, mark(stamp=6))
    assert keys.notice(digest("a"), mark(stamp=7)) is None


def test_memory_holds_a_bounded_number_of_keys_and_says_that_more_are_on_the_disk() -> None:
    keys = Keys(settle=0, most=3)
    for number in range(10):
        tell(keys, f"k{number}", stamp=number)
    assert (keys.pending, keys.overflow, keys.wants_scan) == (3, True, False)
    for _ in range(2):
        flight = keys.take(100)
        assert flight is not None
        keys.delivered(flight)
    assert keys.wants_scan


@given(st.lists(st.integers(0, 50), min_size=5, max_size=60))
def test_nobody_waits_for_ever_while_newer_keys_keep_coming(stamps: list[int]) -> None:
    keys, now = Keys(settle=0), 100
    for place, stamp in enumerate(sorted(stamps)):
        tell(keys, f"old{place}", stamp)
    left = {f"old{place}" for place in range(len(stamps))}
    for number in range(4 * len(stamps)):
        now += 1
        tell(keys, f"new{number}", now)
        flight = keys.take(now)
        assert flight is not None
        left.discard(flight.waiting.mark.key)
        keys.delivered(flight)
    assert left == set()


def test_the_newest_goes_first_and_every_fourth_is_the_oldest() -> None:
    keys = Keys(settle=0)
    for number in range(8):
        tell(keys, f"k{number}", number)
    order = []
    while (flight := keys.take(100)) is not None:
        order.append(flight.waiting.mark.key)
        keys.delivered(flight)
    assert order == ["k7", "k6", "k5", "k0", "k4", "k3", "k2", "k1"]


def test_what_failed_waits_for_its_next_try_and_hurries_when_asked() -> None:
    keys = Keys(settle=0)
    tell(keys)
    flight = keys.take(1)
    assert flight is not None
    keys.put_back(flight, Trouble(attempts=3, due=500))
    assert keys.take(499) is None
    keys.hurry(400)
    flight = keys.take(400)
    assert flight is not None
    assert flight.waiting.trouble.attempts == 3


def test_what_was_hurried_and_failed_again_waits_all_the_same() -> None:
    """Hurrying leaves its earlier places behind, which count no more."""
    keys = Keys(settle=100)
    tell(keys)
    keys.hurry(50)
    flight = keys.take(50)
    assert flight is not None
    keys.put_back(flight, Trouble(attempts=1, due=900))
    assert keys.take(500) is None, "the place that it had before it was hurried"
    assert keys.next_due(500) == 900
    assert keys.take(900) is not None


def test_whoever_fetched_and_ended_leaves_its_keys_to_be_fetched_again() -> None:
    keys = Keys(settle=0)
    tell(keys)
    assert keys.take(1) is not None
    assert keys.flying == 1
    keys.restart()
    assert (keys.flying, keys.pending) == (0, 1)
    assert keys.take(1) is not None


def test_what_is_finished_while_the_disk_is_read_does_not_come_back() -> None:
    keys = Keys(settle=0)
    tell(keys)
    keys.scanning(begins=True)
    flight = keys.take(1)
    assert flight is not None
    keys.delivered(flight)
    keys.load(digest("a"), [0], mark(), Trouble(), now=2)
    assert keys.pending == 0
    keys.scanning(begins=False)
    keys.load(digest("a"), [0], mark(), Trouble(), now=2)
    assert keys.pending == 1


def test_a_clock_that_was_set_back_makes_nothing_wait_longer_than_an_hour() -> None:
    keys = Keys(settle=2 * SECOND)
    keys.load(digest("a"), [0], mark(stamp=10**15), Trouble(due=10**15), now=1000)
    assert keys.next_due(1000) == 1000 + LONGEST_DELAY


@pytest.mark.parametrize(
    ("answered", "noticed", "older"),
    [
        (1, 2, True), (2, 2, False), (2.5, 2, False), ("9", "10", True),
        ("2027-01-01T00:00:00Z", "2027-01-01T00:00:01+00:00", True), ("2027-01-01T00:00:01Z", "2027-01-01T00:00:00Z", False),
        ("2027-01-01T00:00:00Z", "2027-01-01T01:00:00+01:00", False), (-2, -1, True),
        ("abc", "abd", False), (None, 1, False), (True, 2, False), ({}, "x", False),
    ],
)  # fmt: skip
def test_versions_are_numbers_or_times_and_anything_else_is_never_older(answered: object, noticed: object, older: bool) -> None:
    assert is_older(answered, noticed) is older


def test_many_keys_are_taken_in_little_time() -> None:
    keys, chance = Keys(settle=0), random.Random(1)
    for number in range(5000):
        tell(keys, f"k{number}", chance.randrange(1000))
    taken = 0
    while (flight := keys.take(2000)) is not None:
        keys.delivered(flight)
        taken += 1
    assert taken == 5000
