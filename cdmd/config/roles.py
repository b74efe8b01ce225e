"""Which parts of a daemon's work a node does, where several share a journal and a store: read, and checked."""

from collections.abc import Sequence
from typing import Final

from cdmd.config.checking import nearest
from cdmd.config.schema import Config

INGEST: Final = "ingest"
"""It takes what is sent, writes the journal, and does all that one node does alone: the node that leads."""
PULL: Final = "pull"
"""It fetches: pollers, watchers of files, connectors of plugins that fetch."""
PROCESS: Final = "process"
"""It applies its lanes of the journal."""
DELIVER: Final = "deliver"
"""It sends to targets."""
ROLES: Final = (INGEST, PULL, PROCESS, DELIVER)
"""All of a daemon's work."""
ALL: Final = "all"


def roles_of(text: str) -> tuple[str, ...]:
    """Of a list with commas, in our order. Raises ValueError in words for whoever wrote it."""
    named = [one.strip() for one in text.split(",") if one.strip()]
    for one in named:
        if one not in {*ROLES, ALL}:
            raise ValueError(f"there is no role {one!r}{nearest(one, [*ROLES, ALL])}: {', '.join(ROLES)} or {ALL}")
    if not named:
        raise ValueError(f"name at least one role: {', '.join(ROLES)} or {ALL}")
    return tuple(one for one in ROLES if one in named or ALL in named)


def role_problems(config: Config, roles: Sequence[str]) -> list[str]:
    """Why a node cannot have these roles with this configuration; empty where it can."""
    journal, store = config.journal, config.store
    if journal.partitions > 1 and store.url is None:
        return ["journal.partitions: it goes with store.url, the database that several nodes write"]
    if tuple(roles) == ROLES or (journal.url and store.url and journal.partitions > 1):
        return []
    lacks = [key for key, there in (("journal.url", journal.url), ("store.url", store.url)) if not there]
    lacks += ["journal.partitions of 2 or more"] if journal.partitions == 1 else []
    told = f"a node that does {', '.join(roles)} and not the rest shares journal and store with others"
    return [f"{lacks[0].partition(' ')[0]}: {told}: write {', '.join(lacks)}, or run it with all roles"]
