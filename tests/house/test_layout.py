"""How the package is laid out: sizes, names, imports at the top, faults caught where they may be."""

import ast
import re
from collections.abc import Iterator

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
    "cdmd/config/typed.py",  # a type's own struct and check are a plugin's: what they raise leaves out what is configured so
    "cdmd/config/plugins.py",  # the struct of a plugin's own table likewise
    "cdmd/daemon/running.py",  # a reload that nobody waits for ends no daemon
    "cdmd/extensions/",
    "cdmd/intake/edge.py",
    "cdmd/batches/extending.py",  # one record that breaks its mapping does not stop all others
    "cdmd/batches/writing.py",  # an event that breaks the deciding is set apart, so that it does not stop all others
    "cdmd/daemon/background.py",  # what one customer's data does to the work beside the events does not end the daemon
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


def test_a_module_can_be_read_in_one_go() -> None:
    lines = {module.path: module.text.count("\n") for module in modules()}
    assert {path: count for path, count in lines.items() if count > LONGER.get(path, LONGEST)} == {}


def test_nothing_is_put_into_drawers() -> None:
    names = {path.stem if path.is_file() else path.name for path in PACKAGE.rglob("*") if path.suffix in {".py", ""}}
    assert names & DRAWERS == set()


def test_every_module_says_what_it_is_for() -> None:
    assert [module.path for module in modules() if not ast.get_docstring(module.tree)] == []


def test_imports_are_at_the_top_but_in_the_commands() -> None:
    assert [place for module in modules() if not module.path.startswith("cdmd/cli/") for place in _late(module)] == []
    assert [module.path for module in modules() if "from __future__ import annotations" in module.text] == []


def _late(module: Module) -> Iterator[str]:
    for function in functions(module.tree):
        for node in ast.walk(function):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield f"{module.path}:{node.lineno}"


def test_no_circle_of_ours_is_hidden_behind_type_checking() -> None:
    public = {"cdmd/__init__.py", "cdmd/testing/__init__.py"}
    held = [module for module in modules() if module.path not in public and not module.path.startswith("cdmd/cli/")]
    assert [place for module in held for place in _hidden(module)] == []


def _hidden(module: Module) -> Iterator[str]:
    for node in module.nodes:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for text in map(ast.unparse, node.body):
                if re.match(r"(from|import) cdmd\b", text):
                    yield f"{module.path}:{node.lineno}: {text}"


def test_every_exception_is_caught_only_where_foreign_code_ends() -> None:
    held = [module for module in modules() if not module.path.startswith(MAY_CATCH_ALL)]
    caught = [(module, node) for module in held for node in module.nodes if isinstance(node, ast.ExceptHandler)]
    assert [f"{module.path}:{node.lineno}" for module, node in caught if _catches_all(node)] == []


def _catches_all(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    swallows = not any(isinstance(node, ast.Raise) and node.exc is None for node in ast.walk(handler))
    return swallows and any(kind is None or ast.unparse(kind) in {"Exception", "BaseException"} for kind in kinds)


def _typed_names() -> Iterator[str]:
    tree = next(module.tree for module in modules() if module.path == "cdmd/__init__.py")
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
