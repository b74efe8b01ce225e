"""The random faults of a cluster in their short form: one sequence, with short leases."""

from pathlib import Path

import pytest

from tests.cluster.chaos import trial
from tests.cluster.servers import needed

pytestmark = [needed, pytest.mark.timeout(300), pytest.mark.slow]


def test_whatever_befalls_several_nodes_at_once_all_that_was_acknowledged_is_there_once(tmp_path: Path) -> None:
    """The one that leads is killed while orders wait for an extension.

    Seen to fail where whoever leads next brings back only what it parked itself.
    """
    assert trial(tmp_path, seconds=6, seed=71, hurried=True) == []
