"""``cdmd migrate`` that is killed: ``python -m tests.moving.dying STEP [ARGUMENTS]`` ends hard in front of its STEPth step.

A step is whatever changes something: what is written into a store or a journal, and what happens to a file.
"""

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cdmd.cli.daemon_commands import main
from cdmd.cluster.bulk import JetStreamBulk
from cdmd.moving import ending, migration
from cdmd.store.journal_bulk import FileJournal
from cdmd.store.postgres.bulk import PostgresBulk
from cdmd.store.sqlite_bulk import SqliteBulk

STEPS: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (SqliteBulk, ("begin", "put", "give_on", "say")),
    (PostgresBulk, ("begin", "put", "give_on", "say")),
    (FileJournal, ("begin_at", "put", "put_beside")),
    (JetStreamBulk, ("begin_at", "put", "append")),
    (Path, ("rename", "replace", "unlink", "rmdir", "mkdir")),
    (ending, ("write_mark",)),
    (migration, ("write_whole",)),
    (ending.shutil, ("rmtree",)),
)


def watch(last: int) -> None:
    """From now on the process ends in front of step ``last``."""
    count = itertools.count(1)

    def stepping(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            if next(count) == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)

        return step

    for owner, names in STEPS:
        for name in names:
            setattr(owner, name, stepping(getattr(owner, name)))


if __name__ == "__main__":
    watch(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
