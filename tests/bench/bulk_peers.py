"""Others that load or compare the same files, each as a process of its own that prints what it did.

``sqlite-utils`` inserts with a primary key, ``dlt`` appends dictionaries to SQLite, ``duckdb`` compares two registers with one
that it keeps. Nobody of them knows who anybody is. Run: python -m tests.bench.bulk_peers WHICH FOLDER FILE...
"""

import csv
import importlib.util
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

PACKAGES = {"sqlite-utils": "sqlite_utils", "dlt": "dlt", "duckdb": "duckdb"}


class Ran(NamedTuple):
    """What it took: seconds by the clock and of the processors, its start included, and memory at its highest."""

    seconds: float
    cpu: float
    mib: float
    said: Any


def missing(which: str) -> str | None:
    """Why that peer cannot run here; None where it can."""
    wanted = [PACKAGES[which], *(["sqlalchemy"] if which == "dlt" else [])]
    lacking = [name for name in wanted if importlib.util.find_spec(name) is None]
    return f"{', '.join(lacking)} is not installed: pip install 'cdmd[bench]'" if lacking else None


def run(which: str, folder: Path, *files: Path) -> Ran:
    """Run it in ``folder``, which is made for it."""
    folder.mkdir()
    quiet = {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR", "DLT_DATA_DIR": str(folder / "dlt")}
    command = [sys.executable, "-m", "tests.bench.bulk_peers", which, str(folder), *map(str, files)]
    began = time.perf_counter()
    done = subprocess.run(command, env={**os.environ, **quiet}, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{which} failed:\n{done.stderr[-3000:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    return Ran(told.pop("seconds", seconds), told.pop("cpu"), told.pop("mib"), told)


def sqlite_utils(folder: Path, file: Path) -> dict[str, Any]:
    """Its own command, in this process."""
    from sqlite_utils.cli import cli

    cli.main(["insert", str(folder / "x.db"), "customers", str(file), "--csv", "--pk", "customer_no"], standalone_mode=False)
    return {}


def dlt(folder: Path, file: Path) -> dict[str, Any]:
    """A pipeline as its guide shows it: a resource of dictionaries, the SQLAlchemy destination."""
    import dlt as library

    @library.resource(name="customers")
    def customers() -> Any:
        with file.open(encoding="utf-8", newline="") as lines:
            yield from csv.DictReader(lines)

    destination = library.destinations.sqlalchemy(f"sqlite:///{folder / 'x.db'}")
    pipeline = library.pipeline("bulk", destination=destination, dataset_name="data", pipelines_dir=str(folder / "pipelines"))
    pipeline.run(customers())
    return {}


def duckdb(folder: Path, first: Path, second: Path) -> dict[str, Any]:
    """Keep digests of the first register, then, timed by itself, compare the second one and keep its digests."""
    import duckdb as library

    connection = library.connect(str(folder / "x.duckdb"))
    digests = "SELECT customer_no, hash(columns_) AS digest FROM (SELECT customer_no, {columns} AS columns_ FROM {file})"
    names = csv.reader([first.open(encoding="utf-8").readline()]).__next__()
    columns = "concat_ws(chr(31), " + ", ".join(f"coalesce({name}, '')" for name in names) + ")"

    def reading(file: Path) -> str:
        return digests.format(columns=columns, file=f"read_csv('{file}', all_varchar = true)")

    connection.execute(f"CREATE TABLE old AS {reading(first)}")
    connection.close()
    began, cpu = time.perf_counter(), time.process_time()
    connection = library.connect(str(folder / "x.duckdb"))
    connection.execute(f"CREATE TABLE new AS {reading(second)}")
    counts = connection.execute(
        "SELECT count(*) FILTER (o.digest IS NULL), count(*) FILTER (n.digest IS NULL),"
        " count(*) FILTER (o.digest <> n.digest) FROM old o FULL JOIN new n USING (customer_no)"
    ).fetchall()
    connection.execute("DROP TABLE old; ALTER TABLE new RENAME TO old")
    connection.close()
    return {"counts": counts, "seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}


def main() -> None:
    which, folder, files = sys.argv[1], Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]]
    told = {"sqlite-utils": sqlite_utils, "dlt": dlt, "duckdb": duckdb}[which](folder, *files)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"cpu": used.ru_utime + used.ru_stime, "mib": used.ru_maxrss / 1024, **told}))


if __name__ == "__main__":
    main()
