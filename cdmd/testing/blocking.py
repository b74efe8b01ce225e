"""A plugin of pytest that fails a test in which a coroutine of the tried packages makes a call that blocks (blockbuster).

``cdmd plugin check`` uses it (``-p cdmd.testing.blocking``); the packages stand in ``CDMD_TEST_PACKAGES``.
"""

import os
from collections.abc import Iterator

import pytest
from blockbuster import blockbuster_ctx


@pytest.fixture(autouse=True)
def cdmd_never_blocks() -> Iterator[None]:
    """Watches while the test runs."""
    packages = [one for one in os.environ.get("CDMD_TEST_PACKAGES", "").split(os.pathsep) if one]
    with blockbuster_ctx(packages):
        yield
