"""What the rules of the house are held against: the package's modules as text and as syntax trees."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "cdmd"


class Module(NamedTuple):
    """One module of the package: its path from the root, its text, its tree and all that is in the tree."""

    path: str
    text: str
    tree: ast.Module
    nodes: tuple[ast.AST, ...]


@cache
def modules() -> tuple[Module, ...]:
    """Every module of the package."""
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        text = file.read_text()
        tree = ast.parse(text)
        found.append(Module(str(file.relative_to(ROOT)), text, tree, tuple(ast.walk(tree))))
    return tuple(found)


def calls(module: Module) -> Iterator[ast.Call]:
    """Every call of a method in the module."""
    return (node for node in module.nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function in the tree."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
