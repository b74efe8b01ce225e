"""Names of files as bytes: how they are shown, read back, and matched.

A name is never text to us: no encoding is guessed, and what steers a terminal or leads out of a folder is data. Pure.
"""

import fnmatch
import re
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

_ESCAPED: Final = re.compile(rb"\\x([0-9a-f]{2})|\\(\\)")
_LONGEST: Final = 4096
_Glob: TypeAlias = Sequence[re.Pattern[str] | None]
"""A pattern for each part of a path; None stands for any number of parts."""


def shown(name: bytes) -> str:
    r"""The name as safe text: what is no printable UTF-8 as ``\\xNN``, a backslash doubled; ``named`` reads it back."""
    text = name.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() else "".join(f"\\x{byte:02x}" for byte in one.encode()) for one in text)


def named(text: str) -> bytes:
    """The name that ``shown`` gave ``text`` for."""
    raw = text.encode("utf-8", "surrogateescape")
    return _ESCAPED.sub(lambda found: b"\\" if found[2] else bytes.fromhex(found[1].decode()), raw)


def fault_of(name: bytes) -> str | None:
    """Why a name that a listing gave is none of a file in that folder; None where it is one."""
    if name in {b"", b".", b".."} or b"/" in name:
        return "its name leads out of its folder"
    if b"\0" in name or len(name) > _LONGEST:
        return "its name is no name of a file"
    return None


class Patterns:
    """Globs over paths: one without a slash looks at the last part only, in others each part stands for one part.

    ``*`` and ``?`` never cross a slash; a part ``**`` stands for any number of parts. Bytes are matched one by one.
    """

    def __init__(self, globs: Iterable[str]) -> None:
        self._last: list[_Glob] = []
        self._whole: list[_Glob] = []
        for glob in globs:
            parts = [None if part == "**" else _compiled(part) for part in glob.split("/")]
            (self._whole if "/" in glob else self._last).append(parts)

    def matches(self, path: bytes) -> bool:
        """Whether any of the globs matches."""
        parts = path.decode("latin-1").split("/")
        return any(_fits(one, parts[-1:]) for one in self._last) or any(_fits(one, parts) for one in self._whole)


def _fits(globs: _Glob, parts: Sequence[str]) -> bool:
    if not globs:
        return not parts
    first, rest = globs[0], globs[1:]
    if first is None:
        return any(_fits(rest, parts[skipped:]) for skipped in range(len(parts) + 1))
    return bool(parts) and first.fullmatch(parts[0]) is not None and _fits(rest, parts[1:])


def _compiled(part: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(part.encode().decode("latin-1")))
