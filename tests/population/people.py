"""A seeded population: who people are, what they share, and the events that several sources tell of them.

What makes it hard is what makes real data hard, in the shares that ``Hardness`` names: households with one tablet or one
address, a device that everybody uses, mistyped addresses, telephone numbers that belonged to somebody else before, texts that
stand for nothing, several ways of writing the same. People's own identifiers hold their number, so the truth is known.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final, NamedTuple

from cdmd.models import Event

START: Final = datetime(2025, 1, 1, tzinfo=UTC)
NOTHING: Final = ("null", "NULL", "n/a", "unknown", "0000", "00000000-0000-0000-0000-000000000000", "test@test", "none", "-1")
DAYS: Final = 400
OWN: Final = {
    "customer_no": re.compile(r"C(\d{8})"),
    "user_id": re.compile(r"u(\d+)"),
    "email": re.compile(r"p(\d+)(?:\.\d{1,4}@example\.com|@work\.example\.org)"),
    "phone": re.compile(r"\+4670(\d{7})"),
    "anonymous_id": re.compile(r"d(\d+)-\d"),
}
"""How identifiers are written that are one person's own."""


class Hardness(NamedTuple):
    """Shares of people (or of what they type) for each trouble; ``kiosk``: people for each device that everybody uses."""

    household: float = 0.3
    tablet: float = 0.4
    family_address: float = 0.15
    second_address: float = 0.1
    mistyped: float = 0.01
    recycled: float = 0.02
    nothing: float = 0.03
    kiosk: int = 500
    uses_kiosk: float = 0.02


HARD: Final = Hardness()


class Person(NamedTuple):
    """One of them: ``devices`` and ``addresses`` may be others' too. ``since`` and ``until`` in days: their number's time."""

    number: int
    name: str
    addresses: tuple[str, ...]
    phone: str
    since: int
    until: int
    devices: tuple[str, ...]
    customer: str | None
    user: str | None


def population(count: int, *, seed: int, hardness: Hardness = HARD) -> Iterator[Person]:
    """``count`` people, the same for the same ``seed``."""
    random, number = Random(seed), 0
    while number < count:
        size = random.randint(2, 4) if random.random() < hardness.household else 1
        household = [_person(number + place, random, hardness) for place in range(min(size, count - number))]
        yield from _living_together(household, random, hardness)
        number += len(household)


def events_of(person: Person, *, seed: int, hardness: Hardness = HARD) -> Iterator[tuple[int, Event]]:
    """What the sources tell of one of them, each with its day, in no order."""
    random = Random(seed * 1_000_003 + person.number)
    for place in range(random.randint(2, 6)):
        source, identifiers, day = _told(person, random, hardness)
        written = {kind: _written(kind, value, random, hardness) for kind, value in identifiers.items()}
        time = START + timedelta(days=day, seconds=random.randrange(86_400))
        yield (
            day,
            Event(
                id=f"{person.number}-{place}",
                source=source,
                type="seen",
                time=time,
                received=START + timedelta(days=DAYS + 1),
                identifiers=written,
                traits={"name": person.name} if source == "crm" else {},
            ),
        )


class Owners:
    """Whose an identifier is that one person alone has; None for all others."""

    def __init__(self, count: int, *, seed: int, hardness: Hardness = HARD) -> None:
        self._shared = {one.phone for one in population(count, seed=seed, hardness=hardness) if one.since}

    def __call__(self, kind: str, value: str) -> int | None:
        if value in self._shared:
            return None
        found = OWN[kind].fullmatch(value)
        return None if found is None else int(found[1])


def _person(number: int, random: Random, hardness: Hardness) -> Person:
    name = f"p{number}"
    addresses = [f"{name}.{random.randrange(10_000)}@example.com"]
    if random.random() < hardness.second_address:
        addresses.append(f"{name}@work.example.org")
    devices = [f"d{number}-{place}" for place in range(random.randint(1, 3))]
    if random.random() < hardness.uses_kiosk:
        devices.append(f"kiosk-{number // hardness.kiosk}")
    recycled = random.random() < hardness.recycled
    phone, since = (number - 1, 250) if recycled and number else (number, 0)
    return Person(
        number,
        name,
        tuple(addresses),
        f"+4670{phone:07d}"[:12],
        since,
        DAYS,
        tuple(devices),
        f"C{number:08d}" if random.random() < 0.7 else None,
        f"u{number}" if random.random() < 0.6 else None,
    )


def _living_together(household: list[Person], random: Random, hardness: Hardness) -> list[Person]:
    if len(household) < 2:
        return household
    first = household[0].number
    if random.random() < hardness.tablet:
        household = [one._replace(devices=(*one.devices, f"tablet-{first}")) for one in household]
    if random.random() < hardness.family_address:
        household = [one._replace(addresses=(f"family{first}@example.net", *one.addresses)) for one in household]
    return household


def _told(person: Person, random: Random, hardness: Hardness) -> tuple[str, dict[str, str], int]:
    """One source's word about a person: the source, the identifiers, the day."""
    day = random.randrange(DAYS)
    kind = random.random()
    address = random.choice(person.addresses)
    if kind < 0.35 and person.customer:
        told = {"customer_no": person.customer, "email": address}
        if random.random() < 0.6:
            told["phone"] = person.phone
            day = person.since + day * (person.until - person.since) // DAYS
        return "crm", told, day
    if kind < 0.6 and person.user:
        told = {"user_id": person.user, "anonymous_id": random.choice(person.devices)}
        # Libraries tell the address when somebody logs in, and with every other call only the two ids.
        return "app", told | ({"email": address} if random.random() < 0.4 else {}), day
    if kind < 0.85:
        return "shop", {"email": address, "anonymous_id": random.choice(person.devices)}, day
    return "web", {"anonymous_id": random.choice(person.devices)}, day


def _written(kind: str, value: str, random: Random, hardness: Hardness) -> str:
    """As somebody typed it."""
    if random.random() < hardness.nothing:
        return random.choice(NOTHING)
    if kind == "email":
        if random.random() < hardness.mistyped:
            place = random.randrange(1, value.index("@"))
            return value[:place] + random.choice("abcdefghijklmnopqrstuvwxyz") + value[place:]
        return random.choice((value, value, value.upper(), f" {value}"))
    if kind == "phone":
        national = value.replace("+46", "0")
        return random.choice((value, f"{national[:3]}-{national[3:6]} {national[6:]}", f"0046{value[3:]}"))
    return value
