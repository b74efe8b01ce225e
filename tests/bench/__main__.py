"""All short forms, one after the other: ``python -m tests.bench [--folder FOLDER]``, a few minutes."""

import sys
import tempfile
import time
from pathlib import Path

from tests.bench import (
    applications,
    bulk,
    commands,
    dead_endpoint,
    deliveries,
    end_to_end,
    erasure,
    growth,
    intake,
    isolated,
    merging,
    pacing,
    presets,
    sftp,
    showing,
    start,
    thin,
)


def main() -> int:
    arguments, began = sys.argv[1:], time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=Path.cwd()) as kept:
        if "--folder" not in arguments:
            arguments += ["--folder", kept]
        benches = (intake, presets, applications, end_to_end, growth, merging, showing, thin, start, erasure, pacing)
        benches = (*benches, deliveries, dead_endpoint, isolated, commands, sftp, bulk)
        beyond = sum(bench.main(arguments) for bench in benches)
    print(f"\n{beyond} figures are beyond their budget; {time.perf_counter() - began:.0f} s", flush=True)
    return min(beyond, 1)


if __name__ == "__main__":
    raise SystemExit(main())
