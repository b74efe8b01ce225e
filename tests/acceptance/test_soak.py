"""The soak in its short form: everything that can go wrong does so once, and all that was acknowledged is there."""

from pathlib import Path

import pytest

from tests.bench import soak

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(300)]


def test_under_mixed_load_with_something_going_wrong_all_the_time_nothing_is_lost_nor_left_open(tmp_path: Path) -> None:
    assert soak.main(["--seconds", "10", "--rate", "50", "--folder", str(tmp_path)]) == 0
