"""A connector that is told may name the stream that finds what it was not told of."""

from pathlib import Path

import pytest

from cdmd.config.loading import load
from cdmd.connectors.registered import cdmd_connectors
from cdmd.errors import ConfigInvalid

SHOP = "connectors.shop.reconcile: there is no stream "
SAME = 'reconcile = "crm.contacts"'
TEXT = """
[connectors.shop]
type = "webhook"
verify = "none"
reconcile = "{stream}"
[connectors.other]
type = "webhook"
verify = "none"
{other}
[connectors.crm]
type = "rest"
base_url = "https://crm.example"
[connectors.crm.streams.contacts]
path = "/contacts"
page = {{ type = "none" }}
event = {{ id = "{{id}}" }}
"""


def problems(folder: Path, stream: str, other: str = "") -> tuple[str, ...]:
    (folder / "cdmd.toml").write_text(TEXT.format(stream=stream, other=other))
    types = {one.type: one.Settings for one in cdmd_connectors()}
    try:
        load(folder / "cdmd.toml", types=types, environment={"HOME": str(folder)}, randomness=bytes)
    except ConfigInvalid as error:
        return tuple(problem.partition(": ")[2] for problem in error.problems)
    return ()


def test_a_stream_that_is_there_is_taken(tmp_path: Path) -> None:
    assert problems(tmp_path, "crm.contacts") == ()


@pytest.mark.parametrize(
    ("stream", "other", "said"),
    [
        ("crm.contact", "", f"{SHOP}'crm.contact' of another connector (did you mean crm.contacts?)"),
        ("crm", "", f"{SHOP}'crm' of another connector"),
        ("shop.orders", "", f"{SHOP}'shop.orders' of another connector"),
        ("crm.contacts", SAME, "connectors.other.reconcile: crm.contacts finds what shop was not told of already"),
    ],
)  # fmt: skip
def test_a_stream_that_is_not_there_or_another_s_is_a_mistake(tmp_path: Path, stream: str, other: str, said: str) -> None:
    assert problems(tmp_path, stream, other) == (said,)
