import errno
import gzip
import io
import random
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cdmd.errors import FormatFault
from cdmd.kit.pgp import Gpg
from cdmd.kit.secret import Secret
from cdmd.kit.unpacking import Bounds, entries, unpacked

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PLAIN = b"a,b\n" + b"".join(b"%d,%d\n" % (number, number * 7919 % 10_007) for number in range(20_000))


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def read(packed: bytes | Path, **options: Any) -> bytes:
    with unpacked(io.BytesIO(packed) if isinstance(packed, bytes) else packed, **options) as stream:
        return stream.read()


def refused(packed: bytes | Path, **options: Any) -> str:
    with pytest.raises(FormatFault) as caught:
        read(packed, **options)
    return caught.value.code


PACKED = {
    "plain": PLAIN,
    "gz": gzip.compress(PLAIN),
    "gz of two members": gzip.compress(PLAIN[:9]) + gzip.compress(PLAIN[9:]),
    "gz with padding": gzip.compress(PLAIN) + bytes(100_000),
    "zst": zstd.compress(PLAIN),
    "zst of two frames": zstd.compress(PLAIN[:9]) + zstd.compress(PLAIN[9:]),
    "zip": zipped({"folder/": b"", "folder/a.csv": PLAIN, "__MACOSX/folder/a.csv": b"x", "folder/.DS_Store": b"x"}),
    "stored zip": zipped({"a.csv": PLAIN}),
}


@pytest.mark.parametrize("packed", PACKED.values(), ids=PACKED)
def test_a_file_is_unpacked_by_its_content(packed: bytes, tmp_path: Path) -> None:
    file = tmp_path / "anything.dat"
    file.write_bytes(packed)
    assert read(file) == PLAIN
    assert read(packed) == PLAIN


@pytest.mark.parametrize("kind", ["gz", "zst", "zip"])
def test_a_packed_file_that_is_cut_anywhere_is_never_a_short_file(kind: str) -> None:
    packed = PACKED[kind]
    cuts = {len(packed) * part // 50 for part in range(1, 50)} | {len(packed) - 1, len(packed) - 4, len(packed) - 8}
    for cut in cuts:
        if cut > 4:
            assert refused(packed[:cut]) in {"truncated", "damaged"}, cut


@pytest.mark.parametrize("kind", ["gz", "zip"])
def test_a_flipped_bit_is_noticed(kind: str) -> None:
    packed = bytearray(PACKED[kind])
    packed[len(packed) // 2] ^= 4
    assert refused(bytes(packed)) == "damaged"


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_is_damaged_anywhere_is_refused_or_whole(method: int) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("å.csv", PLAIN[:400])
    whole = out.getvalue()
    codes = {"plain"}
    for at in range(len(whole)):
        for bits in (1, 64, 128):
            damaged = bytearray(whole)
            damaged[at] ^= bits
            try:
                assert read(bytes(damaged)) in {PLAIN[:400], bytes(damaged)}
            except FormatFault as fault:
                codes.add(fault.code)
    assert {"damaged", "truncated", "unsupported"} <= codes


def test_what_the_disk_refuses_is_no_damage_of_the_file() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 0:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    with (
        pytest.raises(OSError, match="Input/output error"),
        unpacked(Failing(gzip.compress(random.randbytes(200_000)))) as stream,
    ):
        stream.read()


def test_another_file_behind_a_gzip_is_damage() -> None:
    assert refused(PACKED["gz"] + b"a,b\n1,2\n") == "damaged"


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress, lambda plain: zipped({"a": plain})])
def test_a_bomb_is_stopped_by_its_ratio_and_by_its_size(pack: Callable[[bytes], bytes]) -> None:
    packed = pack(bytes(40 * 2**20))
    assert refused(packed) == "bomb"
    assert refused(packed, bounds=Bounds(max_ratio=10**9, max_bytes=2**20)) == "too_large"
    assert len(read(packed, bounds=Bounds(max_ratio=10**9))) == 40 * 2**20


def test_packed_files_in_packed_files_are_refused() -> None:
    assert refused(zipped({"a.zip": PACKED["zip"]})) == "nested"
    assert refused(gzip.compress(PACKED["gz"])) == "nested"
    assert refused(zipped({"a.gz": PACKED["gz"]})) == "nested"
    assert refused(gzip.compress(zstd.compress(PLAIN))) == "nested"


def test_of_several_entries_one_must_be_named() -> None:
    several = zipped({"customers.csv": PLAIN, "README.txt": b"x", "orders.csv": b"y"})
    assert refused(several) == "not_one_entry"
    assert refused(several, entry="*.xml") == "not_one_entry"
    assert read(several, entry="customers*.csv") == PLAIN
    assert entries(io.BytesIO(several), entry="*.csv") == ["customers.csv", "orders.csv"]
    assert entries(io.BytesIO(PACKED["gz"])) == [""]
    assert refused(several, bounds=Bounds(max_entries=2)) == "too_many_entries"


def test_an_office_file_is_no_archive() -> None:
    office = zipped({"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b"<x/>"})
    assert read(office) == office
    assert entries(io.BytesIO(office)) == [""]


def test_a_link_in_a_zip_is_no_file() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("a.csv")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert refused(out.getvalue()) == "not_one_entry"


def test_the_stream_of_somebody_else_stays_open() -> None:
    file = io.BytesIO(PACKED["gz"])
    with unpacked(file) as stream:
        stream.read()
    assert not file.closed


@pytest.mark.skipif(shutil.which("zip") is None, reason="needs the program zip")
def test_an_encrypted_zip_needs_its_password(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(PLAIN)
    subprocess.run(["zip", "-q", "-P", "sesam", "a.zip", "a.csv"], cwd=tmp_path, check=True)
    file = tmp_path / "a.zip"
    assert refused(file) == "encrypted"
    assert refused(file, password=b"wrong") in {"wrong_password", "damaged"}
    assert read(file, password=b"sesam") == PLAIN


# ---- pgp -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if shutil.which("gpg") is None:
        pytest.skip("needs the program gpg")
    folder = tmp_path_factory.mktemp("gpg")
    folder.chmod(0o700)
    make = ["--quick-generate-key", "Acme <acme@example.com>", "future-default", "default", "never"]
    gpg(folder, "--pinentry-mode", "loopback", "--passphrase", "sesam", *make)
    yield folder
    subprocess.run(["gpgconf", "--homedir", str(folder), "--kill", "all"], check=False)


def gpg(home: Path, *arguments: str, text: bytes = b"") -> bytes:
    command = ["gpg", "--batch", "--quiet", "--homedir", str(home), *arguments]
    return subprocess.run(command, input=text, capture_output=True, check=True, timeout=60).stdout


def encrypted(home: Path, text: bytes, *more: str) -> bytes:
    return gpg(home, "--trust-model", "always", "--recipient", "acme@example.com", *more, "--encrypt", text=text)


def key(home: Path, passphrase: str = "sesam", **more: Any) -> Gpg:
    return Gpg(home=home, passphrase=Secret(passphrase.encode(), reference="env:X"), **more)


def test_what_is_encrypted_with_pgp_is_decrypted_and_unpacked(home: Path) -> None:
    for text in (PLAIN, PACKED["gz"], PACKED["zst"]):
        assert read(encrypted(home, text), gpg=key(home)) == PLAIN
        assert read(encrypted(home, text, "--armor"), gpg=key(home)) == PLAIN


def test_what_cannot_be_decrypted_says_why(home: Path, tmp_path: Path) -> None:
    message = encrypted(home, PLAIN)
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"], check=True)  # it remembers passphrases
    assert refused(message, gpg=key(home, "wrong")) == "no_key"
    assert refused(PLAIN, gpg=key(home)) == "not_encrypted"
    assert refused(encrypted(home, PLAIN, "--armor")) == "encrypted"
    assert refused(message, gpg=key(home, program="/nowhere/gpg")) == "no_gpg"
    stranger = tmp_path / "other"
    stranger.mkdir(mode=0o700)
    assert refused(message, gpg=key(stranger)) == "no_key"
    subprocess.run(["gpgconf", "--homedir", str(stranger), "--kill", "all"], check=False)


def test_an_encrypted_file_that_is_cut_is_never_a_short_file(home: Path) -> None:
    message = encrypted(home, PLAIN, "--compress-algo", "none")
    for cut in (len(message) // 3, len(message) * 2 // 3, len(message) - 1):
        assert refused(message[:cut], gpg=key(home)) == "damaged"


def test_a_gpg_that_hangs_is_ended(tmp_path: Path) -> None:
    program = tmp_path / "gpg"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o700)
    assert refused(PLAIN, gpg=Gpg(home=tmp_path, program=str(program), patience=0.2)) == "gpg_hangs"
    assert "cdmd-gpg" not in {thread.name for thread in threading.enumerate()}
