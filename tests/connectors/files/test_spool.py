import hashlib
import os
from pathlib import Path

import anyio.to_thread
import pytest

from cdmd.connectors.files.spool import Spool
from tests.connectors.files.driving import names

pytestmark = pytest.mark.anyio


async def filled(folder: Path, *chunks: bytes) -> Spool:
    spool = await Spool.create(folder)
    for chunk in chunks:
        await spool.write(chunk)
    return spool


async def test_what_was_written_is_read_from_any_place_and_as_often_as_wanted(tmp_path: Path) -> None:
    content = os.urandom(700_001)
    spool = await filled(tmp_path, content[:5], content[5:300_000], content[300_000:])
    assert (spool.size, spool.digest) == (len(content), hashlib.sha256(content).digest())
    for _ in range(2):
        with spool.reader() as reader:
            assert reader.read() == content
            for place in (0, 1, 15, 16, 17, 262_143, 700_000, 700_001):
                reader.seek(place)
                assert reader.read(33) == content[place : place + 33]
            reader.seek(-10, os.SEEK_END)
            assert reader.read() == content[-10:]
    spool.close()


async def test_nothing_readable_and_no_name_is_on_the_disk(tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    spool = await filled(folder, b"joe@example.com;" * 1000)
    assert names(folder) == []
    assert folder.stat().st_mode & 0o777 == 0o700
    raw = await anyio.to_thread.run_sync(os.pread, spool._handle, 16_000, 0)
    assert len(raw) == 16_000
    assert b"joe@example.com" not in raw
    spool.close()
    spool.close()


async def test_a_file_system_without_nameless_files_does_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY | os.O_WRONLY | os.O_EXCL)
    spool = await filled(tmp_path, b"abc")
    assert names(tmp_path) == []
    with spool.reader() as reader:
        assert reader.read() == b"abc"
    spool.close()
