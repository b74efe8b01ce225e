"""Every format and packing through the real daemon, as a supplier delivers it: the same three customers each time."""

import gzip
import io
import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from cdmd.testing import DaemonProcess
from tests.acceptance.test_files import wait
from tests.connectors.formats.test_typed import sheet

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]
EMAILS = [f"u{number}@example.com" for number in range(3)]
RECORDS = [{"email": email, "n": str(number)} for number, email in enumerate(EMAILS)]
CSV = "email,n\n" + "".join(f"{one['email']},{one['n']}\n" for one in RECORDS)
CONNECTOR = """
[connectors.{name}]
type = "folder"
path = "{folder}/{name}"
stable_for = "0s"
every = "1s"
format = {{ {form} }}
{more}
[connectors.{name}.event]
type = "{name}.delivered"
identifiers = {{ email = "{{email}}" }}
[indicators.{name}]
on = ["{name}.delivered"]
"""


def xml() -> bytes:
    rows = "".join(f"<row><email>{one['email']}</email><n>{one['n']}</n></row>" for one in RECORDS)
    return f'<?xml version="1.0" encoding="iso-8859-1"?><all><row-count>3</row-count>{rows}</all>'.encode("latin-1")


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        head, first, *others = CSV.splitlines(keepends=True)
        archive.writestr("1.csv", head + first)
        archive.writestr("2.csv", head + "".join(others))
        archive.writestr("readme.txt", "not this one")
    return file.getvalue()


def encrypted(home: Path, content: bytes) -> bytes:
    whom = ["--trust-model", "always", "-r", "a@example.com"]
    command = ["gpg", "--batch", "--quiet", "--homedir", str(home), *whom, "--encrypt"]
    return subprocess.run(command, input=content, capture_output=True, check=True, timeout=60).stdout


def delivered(home: Path) -> dict[str, tuple[bytes, str, str]]:
    """By connector: a file, how it is read, and what more has to be said of it."""
    decrypt = f'decrypt = {{ home = "{home}", passphrase = "env:PASSPHRASE" }}'
    lines = "".join(f"{one['email']:20}{one['n']:>3}\n" for one in RECORDS) + "TRAILER 3\n"
    places = 'columns = [{ name = "email", start = 1, length = 20 }, { name = "n", start = 21, length = 3 }]'
    found = {
        "csv_gz": (gzip.compress(CSV.encode()), 'type = "csv"', ""),
        "csv_zip": (zipped(), 'type = "csv"', 'entry = "*.csv"'),
        "csv_pgp": (encrypted(home, gzip.compress(CSV.encode())), 'type = "csv"', decrypt),
        "register_pgp": (encrypted(home, CSV.encode()), 'type = "csv"', decrypt + '\nmode = "snapshot"\nkey = ["n"]'),
        "utf16": (CSV.replace(",", ";").encode("utf-16"), 'type = "csv", delimiter = ";"', ""),
        "jsonl": ("".join(json.dumps(one) + "\n" for one in RECORDS).encode(), 'type = "jsonl"', ""),
        "json": (json.dumps({"data": {"rows": RECORDS}}).encode(), 'type = "json", records = "data.rows"', ""),
        "xml": (xml(), 'type = "xml", record = "row"', ""),
        "fixed": (lines.encode(), f'type = "fixed", {places}, trailer = "TRAILER"', ""),
    }
    return found | typed()


def typed() -> dict[str, tuple[bytes, str, str]]:
    """Formats whose libraries are extras."""
    pytest.importorskip("python_calamine")
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    file = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(RECORDS), file)
    table = sheet((1, ["email", "n"]), *((2 + place, list(one.values())) for place, one in enumerate(RECORDS)))
    return {"xlsx": (table, 'type = "xlsx"', ""), "parquet": (file.getvalue(), 'type = "parquet"', "")}


def test_every_format_and_packing_brings_the_same_customers(tmp_path: Path, gpg_home: Path) -> None:
    files = delivered(gpg_home)
    config = "".join(
        CONNECTOR.format(name=name, folder=tmp_path, form=form, more=more) for name, (_, form, more) in files.items()
    )
    for name, (content, _, _) in files.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "delivered").write_bytes(content)
    with DaemonProcess(tmp_path, config, environment={"PASSPHRASE": "sesam"}) as one:
        wait(lambda: len(states(one)) == len(files) and set(states(one).values()) <= {"done", "quarantined"})
        assert states(one) == dict.fromkeys(files, "done")
        one.settle()
        for email in EMAILS:
            assert one.ask("profile", "show", f"email:{email}")["indicators"] == dict.fromkeys(files, 1)
        assert one.control.get("/v1/status")["totals"]["profiles"] == 3


def states(one: DaemonProcess) -> dict[str, str]:
    return {row["connector"]: row["state"] for row in one.control.get("/v1/shelves/files")}
