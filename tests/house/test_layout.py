"""How the package is laid out: sizes, names, imports at the top, faults caught where they may be."""

import ast
import re
from collections.abc import Iterator

import pytest

import cdmd
from tests.house.reading import PACKAGE, ROOT, Module, functions, modules

LONGEST = 350
LONGER = {
    "cdmd/control/protocol.py": 400,  # the shapes of the control socket, likewise
    "cdmd/daemon/assembly.py": 400,  # the list of parts
    "cdmd/daemon/parts.py": 400,  # what each is made from
    "cdmd/kit/templates.py": 400,  # one grammar: its parser and its evaluation
}
DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc", "base", "core", "manager", "managers", "tools", "lib"}
MAY_CATCH_ALL = (
    "cdmd/supervisor.py",
    "cdmd/plugins/",
    "cdmd/extensions/",
    "cdmd/intake/edge.py",
    "cdmd/batches/extending.py",  # one record that breaks its mapping does not stop all others
    "cdmd/batches/writing.py",  # an event that breaks the deciding is set apart, so that it does not stop all others
    "cdmd/store/writer.py",  # what failed belongs to the one who asked, and the writing thread lives on
    "cdmd/store/served.py",  # the same for the writing process
    "cdmd/store/journal_process.py",  # and for the journal's
    "cdmd/store/frames.py",  # what cannot be sent to the one who asked is named to him
    "cdmd/store/process.py",  # an answer that cannot be read belongs to the one who asked, and the next one is read
    "cdmd/control/server.py",
    "cdmd/console/app.py",
    "cdmd/cli/",
    "cdmd/kit/serving.py",
    "cdmd/kit/bounded_http.py",
    "cdmd/kit/logs.py",
    "cdmd/kit/detached.py",
    "cdmd/telemetry/queue.py",  # the exporter is foreign code: what it raises is that spans did not arrive
)

MODULES = modules()
IDS = [module.path for module in MODULES]


@pytest.mark.parametrize("module", MODULES, ids=IDS)
def test_a_module_can_be_read_in_one_go(module: Module) -> None:
    assert module.text.count("\n") <= LONGER.get(module.path, LONGEST)


def test_nothing_is_put_into_drawers() -> None:
    names = {path.stem if path.is_file() else path.name for path in PACKAGE.rglob("*") if path.suffix in {".py", ""}}
    assert names & DRAWERS == set()


@pytest.mark.parametrize("module", MODULES, ids=IDS)
def test_every_module_says_what_it_is_for(module: Module) -> None:
    assert ast.get_docstring(module.tree)


@pytest.mark.parametrize("module", MODULES, ids=IDS)
def test_imports_are_at_the_top_but_in_the_commands(module: Module) -> None:
    late = {
        node.lineno
        for function in functions(module.tree)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    if not module.path.startswith("cdmd/cli/"):
        assert late == set()
    assert "from __future__ import annotations" not in module.text


@pytest.mark.parametrize("module", MODULES, ids=IDS)
def test_no_circle_of_ours_is_hidden_behind_type_checking(module: Module) -> None:
    if module.path in {"cdmd/__init__.py", "cdmd/testing/__init__.py"} or module.path.startswith("cdmd/cli/"):
        return
    guarded = [node for node in ast.walk(module.tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    assert [text for node in guarded for text in map(ast.unparse, node.body) if re.match(r"(from|import) cdmd\b", text)] == []


@pytest.mark.parametrize("module", MODULES, ids=IDS)
def test_every_exception_is_caught_only_where_foreign_code_ends(module: Module) -> None:
    caught = [node.lineno for node in ast.walk(module.tree) if isinstance(node, ast.ExceptHandler) and _catches_all(node)]
    if not module.path.startswith(MAY_CATCH_ALL):
        assert caught == []


def _catches_all(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    swallows = not any(isinstance(node, ast.Raise) and node.exc is None for node in ast.walk(handler))
    return swallows and any(kind is None or ast.unparse(kind) in {"Exception", "BaseException"} for kind in kinds)


def _typed_names() -> Iterator[str]:
    tree = next(module.tree for module in MODULES if module.path == "cdmd/__init__.py")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cdmd."):
            yield from (alias.asname or alias.name for alias in node.names)


def test_the_names_for_plugins_are_the_same_for_people_type_checkers_and_python() -> None:
    assert sorted({"__version__", *_typed_names()}) == sorted(cdmd.__all__)
    assert sorted(cdmd.__all__) == dir(cdmd)


def test_the_top_level_holds_the_folders_of_the_house() -> None:
    allowed = {"cdmd", "plugins", "tests", "etc", "systemd"}
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert folders <= allowed
