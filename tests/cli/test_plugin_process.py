"""What ``cdmctl plugins info`` says of the process of an isolated plugin."""

from typing import Any

import pytest

from cdmd.cli.control_plugins import _kept


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"kernel": True, "signals": True}, "by the kernel"),
        ({"kernel": True, "signals": False}, "(Linux before 6.12)"),
        ({"kernel": True}, "(Linux before 6.12)"),
        ({"kernel": False, "signals": False}, "(this kernel has no Landlock)"),
    ],
)
def test_what_the_kernel_does_not_hold_is_named(row: dict[str, Any], said: str) -> None:
    assert _kept(row).endswith(said)
