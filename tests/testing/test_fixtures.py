"""The fixtures for plugin authors, used as they would: in a test with the daemon between a supplier's area and an endpoint."""

from collections.abc import Callable

import pytest

from cdmd.testing import DaemonProcess, FakeEndpoint, ManualClock, RecordingSource, SftpArea

pytest_plugins = ["cdmd.testing.fixtures"]
StartDaemon = Callable[..., DaemonProcess]
CONFIG = """
[connectors.supplier]
type = "sftp"
files = ["*.csv"]
stable_for = "0s"
every = "1s"
format = {{ type = "csv" }}
event = {{ id = "{{number}}", type = "customer.seen", identifiers = {{ customer_no = "{{number}}" }} }}
{area}
[targets.client]
type = "webhook"
events = ["customer.*"]
{endpoint}
"""


@pytest.mark.acceptance
def test_what_lies_in_an_area_reaches_an_endpoint(
    cdmd_daemon: StartDaemon, fake_area: SftpArea, fake_endpoint: FakeEndpoint
) -> None:
    fake_area.put("customers.csv", "number\n4711\n4712\n")
    daemon = cdmd_daemon(CONFIG.format(area=fake_area.settings, endpoint=fake_endpoint.settings))
    fake_endpoint.wait(2, seconds=20)
    assert {message["data"]["event"]["id"] for message in fake_endpoint.messages.values()} == {"4711", "4712"}
    assert fake_endpoint.refused == 0
    assert daemon.ask("status")["totals"]["events"] == 2
    assert fake_area.fetch("customers.csv") == b"number\n4711\n4712\n"


def test_a_source_goes_by_the_clock(cdmd_source: RecordingSource, cdmd_clock: ManualClock) -> None:
    assert cdmd_source.clock is cdmd_clock
    assert cdmd_source.events == []


def test_two_daemons_are_apart(cdmd_daemon: StartDaemon) -> None:
    first, second = cdmd_daemon(), cdmd_daemon()
    assert first.url != second.url
    assert first.state_dir != second.state_dir
