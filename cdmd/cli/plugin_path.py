"""Folders beside the interpreter's own in which plugins are installed: for an installation that is hardened and read-only.

``pip install --target FOLDER``, or a package of the system, puts them there. They come last: nothing in them takes the place of
a module that is installed with cdmd.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

VARIABLE: Final = "CDMD_PLUGIN_PATH"
FOLDER: Final = "/usr/lib/cdmd/plugins"
_ANYBODY: Final = 0o002


def extend_path(environment: Mapping[str, str]) -> list[str]:
    """Let plugins be found in the folders of ``$CDMD_PLUGIN_PATH``, else in ours; a sentence for each that is refused."""
    problems = []
    for folder in _folders(environment):
        if problem := _problem(folder):
            problems.append(problem)
        elif str(folder) not in sys.path:
            sys.path.append(str(folder))
    return problems


def _folders(environment: Mapping[str, str]) -> Iterator[Path]:
    named = environment.get(VARIABLE)
    if named is None:
        yield from (one for one in [Path(FOLDER)] if one.is_dir())
        return
    yield from (Path(one) for one in named.split(os.pathsep) if one)


def _problem(folder: Path) -> str | None:
    """Why no code is taken from there."""
    try:
        found = folder.stat()
    except OSError as error:
        return f"plugins are not looked for in {folder}: {error.strerror}"
    if found.st_mode & _ANYBODY:
        return f"plugins are not looked for in {folder}: everybody may write to it (chmod o-w {folder})"
    if found.st_uid not in {0, os.geteuid()}:
        return f"plugins are not looked for in {folder}: it belongs neither to root nor to the user who runs this"
    return None
