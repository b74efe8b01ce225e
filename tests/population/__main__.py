"""``python -m tests.population [PEOPLE] [SEED]``: precision and recall of merges, of a million people unless said otherwise.

By the default rules, and by the same with one or two addresses for each person.
"""

import sys
import tempfile
import time
from pathlib import Path

import anyio
import msgspec

from cdmd.config.schema import default_identifiers
from tests.population.measuring import in_order, measured, region
from tests.population.people import Owners

PEOPLE = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 1
OWNERS = Owners(PEOPLE, seed=SEED)


def said(count: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{count} events")


async def main() -> None:
    defaults = default_identifiers()
    for addresses in (defaults["email"].limit, 2, 1):
        kinds = {**defaults, "email": msgspec.structs.replace(defaults["email"], limit=addresses)}
        began = time.monotonic()
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            path, events = Path(folder) / "store.db", in_order(PEOPLE, Path(folder), seed=SEED)
            found = await measured(path, events, people=PEOPLE, kinds=region(kinds), owner=OWNERS, said=said)
        shown = [
            f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}" for name, value in found._asdict().items()
        ]
        sys.stdout.write(f"{addresses} addresses a person: {', '.join(shown)}; {time.monotonic() - began:.0f} s\n")
        sys.stdout.flush()


if __name__ == "__main__":
    anyio.run(main)
