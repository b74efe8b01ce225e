"""``cdmd plugin check``: reads a plugin's package, loads it, runs its tests and types, says where it stands."""

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import click

from cdmd.cli.plugin_scale import CRITERIA, QUESTIONS, TIERS, Facts, reached
from cdmd.cli.terminal import clean, print_json
from cdmd.errors import CdmdError, NotFound
from cdmd.plugins import Plugins

_TESTS_SECONDS: Final = 600
_LAST: Final = 300


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), default=Path())
@click.option("--at-least", type=click.Choice(TIERS), default="bronze", show_default=True, help="Fail below this tier.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def check(directory: Path, at_least: str, as_json: bool) -> None:
    r"""Where a plugin stands on the scale, and what it lacks. It runs the plugin's tests.

    \b
    cdmd plugin check
    cdmd plugin check plugins/cdmd-warranty --at-least gold
    """
    facts = gathered(directory)
    results = [(one, list(one.judge(facts))) for one in CRITERIA]
    tier = reached(results)
    if as_json:
        rows = [{"tier": one.tier, "name": one.name, "missing": missing} for one, missing in results]
        print_json({"tier": tier, "criteria": rows, "questions": QUESTIONS})
    else:
        for one, missing in results:
            click.echo(f"{'-' if missing else '+'} {one.tier:<6}  {one.name}")
            for text in missing:
                click.echo(f"            {clean(text)}")
        click.echo(f"\nit is {tier or 'below bronze'}" + (", if you can answer these with yes:" if tier == "gold" else ""))
        for text in QUESTIONS if tier == "gold" else ():
            click.echo(f"  ? {text}")
    if tier is None or TIERS.index(tier) < TIERS.index(at_least):
        raise CdmdError(f"the plugin is below {at_least}")


def gathered(directory: Path) -> Facts:
    """All that the scale asks about the package in ``directory``. Runs its tests. Raises ``NotFound`` where there is none."""
    try:
        project = tomllib.loads((directory / "pyproject.toml").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise NotFound(f"{directory} is no package: its pyproject.toml cannot be read ({type(error).__name__})") from error
    points: Mapping[str, str] = project.get("project", {}).get("entry-points", {}).get("cdmd", {})
    packages = {module.partition(":")[0].partition(".")[0] for module in points.values()}
    folders = [directory / package for package in sorted(packages) if (directory / package).is_dir()]
    files = [file for folder in folders for file in sorted(folder.rglob("*.py"))]
    files += [directory / f"{package}.py" for package in sorted(packages) if (directory / f"{package}.py").is_file()]
    plugins = _loaded(directory, points, packages)
    faults = [f"{row.name}: {row.error}" for row in plugins.rows() if row.state != "enabled"]
    tests = _trees(directory, sorted((directory / "tests").rglob("*.py")))
    watched = find_spec("blockbuster") is not None
    return Facts(
        project=project,
        readme=_text(directory / "README.md"),
        sources=_trees(directory, files),
        tests=tests,
        brought=next((found for name in points if (found := plugins.brought(name)) is not None), None),
        fault="; ".join(faults) or None,
        ran=_pytest(directory, packages if watched else set()) if tests else None,
        typed=_mypy(directory, packages),
        marked=bool(folders) and all((folder / "py.typed").exists() for folder in folders),
        watched=watched,
    )


def _loaded(directory: Path, points: Mapping[str, str], packages: set[str]) -> Plugins:
    sys.path.insert(0, str(directory.resolve()))
    before = set(sys.modules)
    try:
        return Plugins.load([EntryPoint(name, value, "cdmd") for name, value in points.items()], {})
    finally:
        sys.path.remove(str(directory.resolve()))
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in packages:  # another plugin may have modules of the same names
                del sys.modules[name]


def _pytest(directory: Path, packages: set[str]) -> str | None:
    """What went wrong with the tests; None where nothing did."""
    watching = ["-p", "cdmd.testing.blocking"] if packages else []
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *watching]
    done = _run(command, directory, {"CDMD_TEST_PACKAGES": os.pathsep.join(sorted(packages))})
    return None if done.returncode == 0 else f"its tests fail: {done.stdout.strip()[-_LAST:] or done.stderr.strip()[-_LAST:]}"


def _mypy(directory: Path, packages: set[str]) -> str | None:
    if find_spec("mypy") is None:
        return "mypy is not installed here: pip install mypy"
    named = [part for package in sorted(packages) for part in ("-p", package)]
    done = _run([sys.executable, "-m", "mypy", "--strict", *named], directory, {})
    return None if done.returncode == 0 else f"mypy: {done.stdout.strip()[-_LAST:] or done.stderr.strip()[-_LAST:]}"


def _run(command: list[str], directory: Path, environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    given: dict[str, Any] = {**os.environ, **environment}
    root = Path(__file__).parents[2]
    if (root / "pyproject.toml").exists():  # a checkout of ours, which is installed nowhere
        given["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
        given["MYPYPATH"] = str(root)
    try:
        return subprocess.run(  # noqa: S603 - tools of ours, on a package that its owner names
            command, cwd=directory, env=given, capture_output=True, text=True, check=False, timeout=_TESTS_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise CdmdError(f"{command[2]} did not end within {_TESTS_SECONDS} seconds") from error


def _trees(directory: Path, files: list[Path]) -> dict[str, ast.Module]:
    found = {}
    for file in files:
        try:
            found[str(file.relative_to(directory))] = ast.parse(file.read_text("utf-8"))
        except (OSError, ValueError, SyntaxError) as error:
            raise CdmdError(f"{file} cannot be read as Python: {type(error).__name__}") from error
    return found


def _text(file: Path) -> str:
    return file.read_text("utf-8") if file.is_file() else ""
