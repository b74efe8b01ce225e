"""Which parts of the work a node does: how they are written, and what they need."""

from types import SimpleNamespace
from typing import Any

import pytest

from cdmd.config.roles import ROLES, role_problems, roles_of


def config(*, journal: bool = True, store: bool = True, partitions: int = 4) -> Any:
    return SimpleNamespace(
        journal=SimpleNamespace(url="nats://h:1" if journal else None, partitions=partitions),
        store=SimpleNamespace(url="postgresql://h/x" if store else None),
    )


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        ("all", ROLES),
        ("process", ("process",)),
        ("deliver, process", ("process", "deliver")),
        ("deliver,all", ROLES),
        ("pull,pull,", ("pull",)),
    ],
)
def test_roles_are_a_list_in_any_order(text: str, roles: tuple[str, ...]) -> None:
    assert roles_of(text) == roles


def test_what_is_no_role_is_said_with_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"there is no role 'deliverr' \(did you mean deliver\?\): ingest, pull, process"):
        roles_of("process,deliverr")
    with pytest.raises(ValueError, match="name at least one role"):
        roles_of(" , ")


def test_a_daemon_that_is_alone_does_everything() -> None:
    assert role_problems(config(journal=False, store=False, partitions=1), ROLES) == []
    assert role_problems(config(), ROLES) == []
    assert role_problems(config(), ("process", "deliver")) == []


def test_roles_apart_say_what_they_need() -> None:
    (found,) = role_problems(config(journal=False, store=False, partitions=1), ("process",))
    assert found == (
        "journal.url: a node that does process and not the rest shares journal and store with others: write journal.url, "
        "store.url, journal.partitions of 2 or more, or run it with all roles"
    )
    (found,) = role_problems(config(partitions=1), ("deliver",))
    assert found.startswith("journal.partitions: a node that does deliver")
    assert role_problems(config(store=False), ROLES) == [
        "journal.partitions: it goes with store.url, the database that several nodes write"
    ]
