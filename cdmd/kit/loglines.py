"""How a checked log line looks and where it goes: a terminal, JSON lines, or journald's own fields. See ``cdmd.kit.logs``."""

import os
import socket
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from cdmd.kit.logs import Line, Render, Write, priority

JOURNAL: Final = "/run/systemd/journal/socket"
_COLOURS: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}
_FIELDS: Final = ("connector", "plugin", "extension", "target", "seq", "error", "reason", "state", "logger", "code")
_LARGEST: Final = 48 * 1024


def choose(environ: Mapping[str, str], fd: int, *, journal: str = JOURNAL) -> tuple[Render, Write]:
    """How and where to log for a process whose stderr is ``fd``: journald where it reads stderr, else a terminal, else JSON."""
    if reads_stderr(environ, fd):
        return as_fields, journal_writer(journal, fallback=fd)
    if os.isatty(fd):
        colours = "NO_COLOR" not in environ and environ.get("TERM") != "dumb"
        return (as_coloured_text if colours else as_text), descriptor_writer(fd)
    return as_json, descriptor_writer(fd)


def reads_stderr(environ: Mapping[str, str], fd: int) -> bool:
    """True when journald is the reader of ``fd``: $JOURNAL_STREAM names its device and inode (systemd.exec(5))."""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def descriptor_writer(fd: int) -> Write:
    """Whole lines to a file descriptor; called in the log thread, where waiting is no harm."""

    def write(line: bytes) -> None:
        while line:
            line = line[os.write(fd, line) :]

    return write


def journal_writer(path: str, *, fallback: int) -> Write:
    """Datagrams to journald (its native protocol); when it does not take one, the message goes to ``fallback``."""
    plain = descriptor_writer(fallback)

    def write(line: bytes) -> None:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.sendto(line, path)
        except OSError:
            plain(line.partition(b"\n")[0].removeprefix(b"MESSAGE=") + b"\n")

    return write


def as_json(line: Line) -> bytes:
    """One JSON object and a newline."""
    return msgspec.json.encode(line) + b"\n"


def as_text(line: Line) -> bytes:
    """``12:00:01 warning connector_failed connector=shop`` with the frames indented below."""
    return _text(line, coloured=False)


def as_coloured_text(line: Line) -> bytes:
    """``as_text`` with the level in colour."""
    return _text(line, coloured=True)


def as_fields(line: Line) -> bytes:
    """Journald's fields: MESSAGE, PRIORITY, CDMD_EVENT, CDMD_CONNECTOR and so on; cut at 48 KiB, so never a memfd."""
    fields = {"MESSAGE": _message(line), "PRIORITY": priority(line["level"]), "SYSLOG_IDENTIFIER": "cdmd"}
    fields |= {"CDMD_EVENT": line["event"]}
    fields |= {f"CDMD_{key.upper()}": line[key] for key in _FIELDS if line.get(key) is not None}
    parts = [f"{name}={value}".encode("utf-8", "replace") for name, value in fields.items()]
    parts[0] = parts[0][: _LARGEST - 1 - sum(len(part) + 1 for part in parts[1:])]
    return b"\n".join(parts) + b"\n"


def _message(line: Line) -> str:
    return " ".join([line["event"], *(f"{key}={_shown(value)}" for key, value in line.items() if key not in _HEAD)])


_HEAD: Final = ("ts", "level", "event")


def _text(line: Line, *, coloured: bool) -> bytes:
    level = line["level"]
    shown = f"\x1b[{_COLOURS.get(level, '1')}m{level:<8}\x1b[0m" if coloured else f"{level:<8}"
    below = "".join(f"\n    {frame}" for frame in line.get("frames", ()))
    message = _message({key: value for key, value in line.items() if key != "frames"})
    return f"{line['ts'][11:19]} {shown} {message}{below}\n".encode("utf-8", "replace")


def _shown(value: Any) -> str:
    if isinstance(value, str) and value and " " not in value and '"' not in value:
        return value
    return msgspec.json.encode(value).decode()
