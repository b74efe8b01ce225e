"""Confines this process, and what it starts, by means of the kernel that need no right and cannot be taken back.

Files by Landlock (https://docs.kernel.org/userspace-api/landlock.html); local sockets, and what Landlock lets anybody change
of a file, by a seccomp filter (https://docs.kernel.org/userspace-api/seccomp_filter.html). To be called before there are
threads: those that run already are not confined. Linux on x86-64 and ARM64; elsewhere, and where the kernel has it not, it
says so.
"""

import ctypes
import os
import platform
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE: Final = 1 << 14
_OF_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_READS: Final = _EXECUTE | _READ_FILE | _READ_DIR
_SIGNALS_AND_ABSTRACT_SOCKETS: Final = 0b11
_RIGHTS: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
"""All rights over files that a version of the interface knows, but those over devices."""

_WITH_TRUNCATE: Final = 3
_WITH_NETWORK: Final = 4
_WITH_SCOPES: Final = 6
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_REFUSED: Final = 0x0005_0000
_ALLOWED: Final = 0x7FFF_0000
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_LOAD, _EQUAL, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_NUMBER_AT, _MACHINE_AT, _FAMILY_AT, _TYPE_AT = 0, 4, 16, 24
_AF_UNIX: Final = 1
_TYPE, _STREAM, _SEQPACKET = 0xF, 1, 5
"""Of a socket's type what is no flag, and the two whose pairs reach nobody else."""

_IO_URING_SETUP: Final = 425
_X32: Final = 0x4000_0000


class _Machine(NamedTuple):
    audit: int
    socket: int
    socketpair: int
    truncate: int
    changes: tuple[int, ...]
    """chmod, fchmod, fchmodat; chown, fchown, lchown, fchownat; setxattr and removexattr, each also with l and f."""


_MACHINES: Final = {
    "x86_64": _Machine(0xC000_003E, 41, 53, 76, (90, 91, 268, 92, 93, 94, 260, 188, 189, 190, 197, 198, 199)),
    "aarch64": _Machine(0xC000_00B7, 198, 199, 45, (52, 53, 54, 55, 5, 6, 7, 14, 15, 16)),
}
_CHANGES: Final = (452, 463, 466, 469)
"""fchmodat2, setxattrat, removexattrat, file_setattr: the same number everywhere."""


class Kept(NamedTuple):
    """What the kernel holds: ``files`` (and tracing) where it has Landlock, ``signals`` from Linux 6.12 on."""

    files: bool
    signals: bool


def keep_from(private: Sequence[Path], *, writable: Sequence[Path]) -> Kept:
    """Keep this process from the files ``private`` and all below them; elsewhere it may read, and write below ``writable``.

    It also cannot trace who is outside or, where that is kept, signal them, or read what the kernel tells of other processes:
    their environment, say. What is made later beside something private cannot be opened either. Not kept from anybody are a
    file's mode, owner and attributes (``refuse_calls``), its times, locks on it, and names.
    """
    version = _version()
    if version < 1 or platform.machine() not in _MACHINES:
        return Kept(files=False, signals=False)
    rights = _RIGHTS[min(version, 3)]
    scopes = _SIGNALS_AND_ABSTRACT_SOCKETS if version >= _WITH_SCOPES else 0
    size = 24 if version >= _WITH_SCOPES else 16 if version >= _WITH_NETWORK else 8
    attributes = struct.pack("=QQQ", rights, 0, scopes)[:size]
    rules = _call(_CREATE_RULESET, attributes, size, 0)
    if rules < 0:
        return Kept(files=False, signals=False)
    others = [one for one in Path("/proc").iterdir() if one.name.isdecimal() and one.name != str(os.getpid())]
    kept = [*(Path(os.path.realpath(one)) for one in private), *others]
    _allow(rules, Path("/"), _READ_DIR)  # names are no secret, and Python looks for modules by them
    for place in _around(Path("/"), kept):
        _allow(rules, place, _READS)
    for folder in writable:
        for place in _around(Path(os.path.realpath(folder)), kept):
            _allow(rules, place, rights)
    _no_new_privileges()
    done = _call(_RESTRICT_SELF, rules, 0)
    os.close(rules)
    return Kept(files=done == 0, signals=done == 0 and scopes != 0)


def refuse_calls() -> bool:
    """From now on no local (Unix) socket can be made, and no file's mode, owner or attributes be changed; False where not so.

    What can be made are pairs of local sockets that reach nobody else. Nor can io_uring be set up, which makes sockets without
    asking, nor, where Landlock does not see to it, a file be cut by its name.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return False
    changes = [*machine.changes, *_CHANGES, *([machine.truncate] if _version() < _WITH_TRUNCATE else [])]
    steps = [
        (_LOAD, 0, 0, _MACHINE_AT),
        (_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, _REFUSED | _ENOSYS),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 1, 0, _X32),
        (_EQUAL, 0, 1, _IO_URING_SETUP),
        (_RETURN, 0, 0, _REFUSED | _ENOSYS),
    ]
    for number in changes:
        steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSED | _EPERM)]
    steps += [
        (_EQUAL, 0, 4, machine.socket),
        (_LOAD, 0, 0, _FAMILY_AT),
        (_EQUAL, 0, 1, _AF_UNIX),
        (_RETURN, 0, 0, _REFUSED | _EAFNOSUPPORT),
        (_RETURN, 0, 0, _ALLOWED),
        (_EQUAL, 0, 5, machine.socketpair),
        (_LOAD, 0, 0, _TYPE_AT),
        (_AND, 0, 0, _TYPE),
        (_EQUAL, 2, 0, _STREAM),
        (_EQUAL, 1, 0, _SEQPACKET),
        (_RETURN, 0, 0, _REFUSED | _EAFNOSUPPORT),
        (_RETURN, 0, 0, _ALLOWED),
    ]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(program)))
    _no_new_privileges()
    return bool(_library().prctl(_SET_SECCOMP, _FILTER, header, 0, 0) == 0)


def _version() -> int:
    """Of Landlock's interface; below 1 where there is none."""
    return _call(_CREATE_RULESET, None, 0, _VERSION)


def _around(top: Path, kept: Sequence[Path]) -> Iterator[Path]:
    """``top``, or, where that holds something kept, what is in it and around that."""
    if any(top == one or one in top.parents for one in kept):
        return
    if not any(top in one.parents for one in kept):
        yield top
        return
    try:
        found = list(os.scandir(top))
    except OSError:
        return
    for entry in found:
        if not entry.is_symlink():  # what one leads to is a place of its own
            yield from _around(Path(entry.path), kept)


def _allow(rules: int, place: Path, rights: int) -> None:
    try:
        opened = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # gone, or not for us anyway
        return
    try:
        allowed = rights if place.is_dir() else rights & _OF_FILES
        _call(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", allowed, opened), 0)
    finally:
        os.close(opened)


def _call(number: int, *arguments: Any) -> int:
    """A system call that the C library has no function for; below 0 where it is refused."""
    return int(_library().syscall(ctypes.c_long(number), *arguments))


def _no_new_privileges() -> None:
    _library().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def _library() -> Any:
    return ctypes.CDLL(None, use_errno=True)
