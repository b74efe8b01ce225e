"""How much CPU deciding costs: resolve and project a batch of 1,000 events with 2 identifiers and 3 indicators.

Limit: 25 µs of CPU per event (a look-up of usable identifiers: 2 µs). Run: python -m tests.bench.bench_decide
"""

import time
from datetime import UTC, datetime

from cdmd.config.schema import IdentitySettings, IndicatorSettings
from cdmd.identity.identifiers import Kinds
from cdmd.identity.naming import public_id
from cdmd.identity.resolution import People
from cdmd.models import Event, Known, Micros, ProfileKey, Seq, to_micros
from cdmd.profiles.projection import Projection

EVENTS, PROFILES, ROUNDS = 1000, 500, 20
LIMIT_MICROSECONDS, LIMIT_USABLE = 25.0, 2.0


def main() -> None:
    kinds = Kinds(IdentitySettings())
    projection = Projection(
        {
            "orders": IndicatorSettings(on="order.*"),
            "spent": IndicatorSettings(on=("order.paid",), value="{data.total}", compute="sum"),
            "largest": IndicatorSettings(on=("order.paid",), value="{data.total}", compute="max"),
        }
    )
    received = datetime(2026, 11, 23, 10, tzinfo=UTC)
    at = to_micros(received)
    events = [
        Event(
            id=f"e{number}",
            source="shop",
            type="order.paid",
            received=received,
            identifiers={"email": f"Joe{number % PROFILES}@example.com", "customer_no": f"C{number % PROFILES}"},
            traits={"first_name": "Joe", "city": "Lund"},
            data={"total": number + 0.1, "currency": "SEK"},
        )
        for number in range(EVENTS)
    ]

    def decide(known: Known) -> People:
        people = People(
            known, kinds=kinds, public=lambda seq, when: public_id("journal", seq, when), combine=projection.combine
        )
        for seq, event in enumerate(events, 1):
            found = people.resolve(kinds.forms(event.identifiers), seq=Seq(seq), at=at, source=event.source)
            assert found.profile is not None
            projection.project(people.state(found.profile), event, at=Micros(at + seq), seq=Seq(seq))
        return people

    new = Known(seen={}, owners={}, profiles={}, next_profile=ProfileKey(1))
    made = decide(new)
    old = Known(seen={}, owners=made.owners, profiles=made.profiles, next_profile=ProfileKey(PROFILES + 1))
    for name, known in (("new profiles", new), ("known profiles", old)):
        spent = []
        for _ in range(ROUNDS):
            start = time.process_time()
            decide(known)
            spent.append((time.process_time() - start) / EVENTS * 1e6)
        verdict = "within" if min(spent) <= LIMIT_MICROSECONDS else "BEYOND"
        print(f"{name}: {min(spent):.1f} µs per event, {verdict} the limit of {LIMIT_MICROSECONDS} µs")
    start = time.process_time()
    for _ in range(ROUNDS):
        for event in events:
            kinds.usable(event.identifiers)
    usable = (time.process_time() - start) / EVENTS / ROUNDS * 1e6
    print(
        f"usable identifiers: {usable:.2f} µs per event, {'within' if usable <= LIMIT_USABLE else 'BEYOND'} {LIMIT_USABLE} µs"
    )


if __name__ == "__main__":
    main()
