"""How long the daemon takes to show a profile, to find one, and to draw a page of the console, among a million.

Asked over the control socket, as ``cdmctl`` asks; uniform access, so that no page is in the cache by luck.
Run: python -m tests.bench.showing [--long] [--folder FOLDER].
"""

import random
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from cdmd.control.client import Client
from tests.bench.end_to_end import Daemon
from tests.bench.figures import Report, options, quantile, working_folder

ASKED = 200
PAGES = (
    *("/", "/connectors/shop", "/customers", "/customers/{}", "/live", "/dead-letters", "/files", "/deliveries", "/plugins"),
    *("/configuration", "/audit"),
)


def _times(ask: Callable[[int], Any], profiles: int) -> list[float]:
    """Milliseconds of each question, sorted."""
    rng, took = random.Random(11), []
    for _ in range(ASKED):
        customer = rng.randrange(profiles)
        began = time.perf_counter()
        ask(customer)
        took.append((time.perf_counter() - began) * 1e3)
    return sorted(took)


def _public(control: Client, customer: int) -> str:
    found = control.get("/v1/profiles", {"text": f"email:joe{customer}@example.com", "limit": 1})
    return str(found["profiles"][0]["profile"])


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns how many figures are beyond their budget."""
    given = options("showing", long_help="1,000,000 profiles instead of 50,000").parse_args(arguments)
    profiles = 1_000_000 if given.long else 50_000
    report = Report(f"A profile of {profiles:,}, {ASKED} questions")
    with working_folder(given.folder) as folder, Daemon(folder / "daemon", given.folder or folder, profiles) as daemon:

        def show(customer: int) -> None:
            found = daemon.control.get("/v1/profile", {"identifier": f"email:joe{customer}@example.com"})
            assert found["indicators"]["orders"] == 1, found

        def find(customer: int) -> None:
            asked = {"text": f"email:joe{customer}@example.com", "limit": 10}
            assert daemon.control.get("/v1/profiles", asked)["profiles"]

        def page(path: str) -> Callable[[int], None]:
            def ask(customer: int) -> None:
                target = path.format(quote(_public(daemon.control, customer)) if "{" in path else "")
                with daemon.control.raw("GET", f"/console{target}", body=None, headers={"host": "localhost"}) as answer:
                    assert answer.whole(), target
                    assert answer.status == 200, (target, answer.status)

            return ask

        shown, sought = _times(show, profiles), _times(find, profiles)
        pages = {path: _times(page(path), profiles) for path in PAGES}
    report.note(f"profile show: p50 {quantile(shown, 0.5):.1f}, p99 {quantile(shown, 0.99):.1f} ms")
    report.note(f"profile find by an identifier: p50 {quantile(sought, 0.5):.1f}, p99 {quantile(sought, 0.99):.1f} ms")
    report.line("profile show, p99", quantile(shown, 0.99), "ms", at_most=20)
    for path, took in pages.items():
        report.line(f"console page {path} (looking the id up included), p99" if "{" in path else f"console page {path}, p99",
                    quantile(took, 0.99), "ms", at_most=100)  # fmt: skip
    return report.beyond


if __name__ == "__main__":
    raise SystemExit(main())
