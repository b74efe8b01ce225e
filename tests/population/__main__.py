"""Precision and recall of merges in a population with a known truth, by the default rules.

With ``--compare`` also by the rules that others have: devices that join whoever uses them, with five addresses and with one.
Run: python -m tests.population [PEOPLE] [SEED] [--compare]; a million people take some minutes and about 2 GB of disk.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import anyio
import msgspec

from cdmd.config.schema import IdentifierSettings, default_identifiers
from tests.population.measuring import attainable, in_order, measured, region
from tests.population.people import Owners

_EVERY = 100_000


def rules() -> Mapping[str, dict[str, IdentifierSettings]]:
    """By name, the default ones first."""
    defaults = default_identifiers()
    joining = {**defaults, "anonymous_id": msgspec.structs.replace(defaults["anonymous_id"], shared=False)}
    return {
        "the default rules": defaults,
        "devices join whoever uses them": joining,
        "the same, and one address a person": {**joining, "email": msgspec.structs.replace(defaults["email"], limit=1)},
    }


def said(count: int) -> None:
    """How far it is."""
    if count % _EVERY == 0:
        sys.stderr.write(f"\r{count:,} events" if sys.stderr.isatty() else f"{count:,} events\n")


async def main(people: int, seed: int, *, compare: bool) -> None:
    """Print a line for each set of rules, and what the best that could be is."""
    owners = Owners(people, seed=seed)
    for name, kinds in list(rules().items())[: None if compare else 1]:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            events = in_order(people, Path(folder), seed=seed)
            found = await measured(
                Path(folder) / "store.db", events, people=people, kinds=region(kinds), owner=owners, said=said
            )
        took = time.monotonic() - began
        sys.stdout.write(
            f"{name}: precision {found.precision:.4f}, recall {found.recall:.4f}; {found.people:,} people are"
            f" {found.profiles:,} profiles by {found.events:,} events; of these {found.kept_apart:,} had an identifier"
            f" given up, {found.unusable:,} one that means nobody; {took:.0f} s, {found.events / took:,.0f} events/s\n"
        )
        sys.stdout.flush()
    best = attainable(people, seed=seed, owner=owners)
    sys.stdout.write(f"recall of who is joined by what is said of them and by nothing else: {best:.4f}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.population", description=__doc__)
    parser.add_argument("people", nargs="?", type=int, default=1_000_000)
    parser.add_argument("seed", nargs="?", type=int, default=1)
    parser.add_argument("--compare", action="store_true", help="also by others' rules")
    given = parser.parse_args()
    anyio.run(lambda: main(given.people, given.seed, compare=given.compare))
