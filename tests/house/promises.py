"""The promises of README.md, and whether the tests that they name are there."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

_ROW = re.compile(r"^\|\s*(P\d+)\s*\|(.*)\|(.*)\|\s*$", re.MULTILINE)
_NAMED = re.compile(r"`([^`]+)`")


class Promise(NamedTuple):
    """One row: its number, its sentence, and the tests it names (``path::name``)."""

    number: str
    sentence: str
    tests: list[str]


def promises(readme: str) -> list[Promise]:
    """The rows of the table, as they stand."""
    return [
        Promise(row[1], row[2].strip(), [name for name in _NAMED.findall(row[3]) if ".py" in name])
        for row in _ROW.finditer(readme)
    ]


def missing(named: list[str], root: Path) -> list[str]:
    """Which of ``path::name`` (or ``path::Class::name``) are not there, or would not be collected."""
    return [one for one in named if not _is_there(one, root)]


def _is_there(named: str, root: Path) -> bool:
    path, *names = named.partition("[")[0].split("::")
    file = root / path
    if not file.is_file() or not file.name.startswith("test_") or not names:
        return False
    body: list[ast.stmt] = ast.parse(file.read_text()).body
    *classes, name = names
    for wanted in classes:
        body = next((node.body for node in body if isinstance(node, ast.ClassDef) and node.name == wanted), [])
    defined = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return name.startswith("test_") and name in defined
