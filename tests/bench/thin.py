"""A thousand notifications about ten keys in two seconds: how many fetches they cost, and how late the last state is there.

Run: python -m tests.bench.thin [--folder FOLDER]. The API is real, on loopback, and counts what breaks its limit.
"""

import time

from cdmd.testing import DaemonProcess
from tests.acceptance.survey_api import Api
from tests.acceptance.test_thin_webhooks import quiet, survey, trait, until
from tests.bench.figures import Report, cpu_seconds, options, working_folder

NOTICES, KEYS, SECONDS = 1000, 10, 2.0


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns how many figures are beyond their budget."""
    given = options("thin", long_help="the same").parse_args(arguments)
    report = Report(f"{NOTICES:,} thin notifications about {KEYS} keys in {SECONDS:g} seconds, the API allows 60/1m")
    with working_folder(given.folder) as folder, Api(limit=60, per=60.0).served() as api:
        (folder / "thin").mkdir()
        daemon = DaemonProcess(folder / "thin", survey(api, limits="60/1m"))
        with daemon:
            assert daemon.process is not None
            before, began = cpu_seconds(daemon.process.pid), time.perf_counter()
            for number in range(NOTICES):
                key = f"k{number % KEYS}"
                api.things[key] = {"n": number}
                daemon.send("/hooks/survey", {"id": key})
                time.sleep(max(0.0, began + number * SECONDS / NOTICES - time.perf_counter()))
            sent = time.perf_counter()
            until(lambda: quiet(daemon))
            late, used = time.perf_counter() - sent, cpu_seconds(daemon.process.pid) - before
            right = sum(trait(daemon, key) == thing["n"] for key, thing in api.things.items())
    report.note(f"sent in {sent - began:.1f} s; {used:.2f} s CPU in the daemon until all was quiet")
    report.line("fetches", sum(api.asked.values()), at_most=2 * KEYS)
    report.line("keys whose last state won", right, at_least=KEYS)
    report.line("requests beyond the API's limit", api.violations, at_most=0)
    report.line("the last notification to all quiet", late, "s", at_most=5.0)
    return report.beyond


if __name__ == "__main__":
    raise SystemExit(main())
