"""Power cuts played back from a recording: which bytes a disk may hold at a moment, given what was synced until then.

The recording (``recorder.c``) is of one process and one folder. Not here: a real file system (``test_real_power_cut``).
"""

import random
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

Mode: TypeAlias = Literal["lost", "subset", "torn"]
MODES: Final[tuple[Mode, ...]] = ("lost", "subset", "torn")
_HEADER: Final = struct.Struct("=dIIIq")
_SECTOR: Final = 512


class Row(NamedTuple):
    """One call: w(rite), t(runcate), s(ync), u(nlink), r(ename to ``data``). ``time`` is monotonic, in seconds."""

    time: float
    kind: str
    path: Path
    offset: int
    data: bytes


def compile_recorder(folder: Path) -> Path:
    """The library to preload. Raises subprocess.CalledProcessError."""
    library = folder / "recorder.so"
    source = Path(__file__).with_name("recorder.c")
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl", "-lpthread"], check=True, timeout=60)
    return library


def read_rows(recording: Path) -> list[Row]:
    """All whole rows of a recording."""
    raw, at, rows = recording.read_bytes(), 0, []
    while at + _HEADER.size <= len(raw):
        time, kind, path, size, offset = _HEADER.unpack_from(raw, at)
        at += _HEADER.size
        rows.append(Row(time, chr(kind), Path(raw[at : at + path].decode()), offset, raw[at + path : at + path + size]))
        at += path + size
    return rows


class Disk:
    """What a disk holds for certain, and what else it was told: in ``play``ing order, per file and for names."""

    def __init__(self, base: Path, root: Path) -> None:
        self._root = root
        self._certain = {path.relative_to(base): bytearray(path.read_bytes()) for path in base.rglob("*") if path.is_file()}
        self._names: list[Row] = []
        self._waiting: dict[Path, list[Row]] = {}

    def play(self, row: Row) -> None:
        """Take one call in."""
        path = row.path.relative_to(self._root) if row.path != self._root else Path()
        if row.kind == "s":
            self._sync(path)
        elif row.kind in "ur":
            self._names.append(row)
        else:
            self._waiting.setdefault(path, []).append(row)

    def image(self, mode: Mode, chance: random.Random) -> dict[Path, bytearray]:
        """One of the states that a power cut may leave: nothing that was not synced, a part of it, or torn sectors of it."""
        files = {path: bytearray(content) for path, content in self._certain.items()}
        for path, rows in self._waiting.items():
            for row in [] if mode == "lost" else rows:
                if chance.random() < 0.5:
                    _apply(files.setdefault(path, bytearray()), row, chance if mode == "torn" else None)
        # Names are journaled in order: what lasts of them is a beginning.
        for row in self._names[: 0 if mode == "lost" else chance.randint(0, len(self._names))]:
            self._name(files, row)
        return files

    def _sync(self, path: Path) -> None:
        """A synced file has all its bytes and its name; the names of a synced folder last, and so do those given before."""
        for row in self._waiting.pop(path, []):
            _apply(self._certain.setdefault(path, bytearray()), row, None)
        if path == Path():
            for row in self._names:
                self._name(self._certain, row)
                self._carry(row)
            self._names = []

    def _carry(self, row: Row) -> None:
        old = row.path.relative_to(self._root)
        waiting = self._waiting.pop(old, [])
        if row.kind == "r" and waiting:
            self._waiting[Path(row.data.decode()).relative_to(self._root)] = waiting

    def _name(self, files: dict[Path, bytearray], row: Row) -> None:
        content = files.pop(row.path.relative_to(self._root), None)
        if row.kind == "r" and content is not None:
            files[Path(row.data.decode()).relative_to(self._root)] = content


def write_image(files: dict[Path, bytearray], folder: Path) -> None:
    """Put an image in place, private as a state directory is."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    for name, content in files.items():
        (folder / name).parent.mkdir(mode=0o700, exist_ok=True)
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)


def moments(rows: Sequence[Row], *, count: int, chance: random.Random) -> list[int]:
    """Where to cut: so many places between rows, in order."""
    return sorted(chance.randint(1, len(rows)) for _ in range(count))


def _apply(content: bytearray, row: Row, torn: random.Random | None) -> None:
    if row.kind == "t":
        content[row.offset :] = bytes(max(0, row.offset - len(content)))
        return
    step = len(row.data) if torn is None else _SECTOR
    for at in range(0, len(row.data), step):
        if torn is None or torn.random() < 0.5:
            _put(content, row.offset + at, row.data[at : at + step])


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data
