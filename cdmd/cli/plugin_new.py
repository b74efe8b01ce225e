"""``cdmd plugin new``: writes a plugin package that installs, with passing tests. Nothing of it is installed here."""

import re
from collections.abc import Collection, Mapping
from importlib.resources import files
from keyword import iskeyword
from pathlib import Path
from typing import Final, NamedTuple

import click

import cdmd.builtin
from cdmd import __version__
from cdmd.cli.control_commands import ENTRIES
from cdmd.cli.terminal import clean
from cdmd.errors import BadArguments, CdmdError
from cdmd.plugins import Plugins

_PREFIX: Final = "cdmd-"
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST: Final = 40
_TEMPLATES: Final = (
    ("pyproject.toml.txt", "pyproject.toml"),
    ("README.md.txt", "README.md"),
    ("ci.yml.txt", ".github/workflows/test.yml"),
    ("gitignore.txt", ".gitignore"),
    ("conftest.py.txt", "tests/conftest.py"),
    ("{{kind}}/package.py.txt", "cdmd_{{module}}/__init__.py"),
    ("{{kind}}/test.py.txt", "tests/test_{{module}}.py"),
)


class _Kind(NamedTuple):
    """What differs: what it brings, its settings as an example, and what it needs beside cdmd."""

    brings: str
    settings: str
    needs: str = ', "msgspec>=0.19"'


_KINDS: Final[Mapping[str, _Kind]] = {
    "extension": _Kind("an extension: it sees events before they are stored", "[plugins.{{name}}]\nlarge_from = 100"),
    "connector": _Kind(
        "a connector type",
        '[connectors.new]\ntype = "{{name}}"\nurl = "https://api.example/new"',
    ),
    "format": _Kind("a file format", 'format = { type = "{{name}}", comment = ";" }    # of any connector that reads files'),
    "target": _Kind(
        "a target type", '[targets.there]\ntype = "{{name}}"\nurl = "https://api.example/messages"\nevents = ["order.*"]'
    ),
    "command": _Kind("a command, `cdmctl {{name}}`", "# none", ', "click>=8.1"'),
}


@click.command()
@click.argument("name")
@click.option(
    "--into",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path(),
    help="The folder to write it into, instead of this one.",
)
@click.option(
    "--kind", type=click.Choice(list(_KINDS)), default="extension", show_default=True, help="What it brings to begin with."
)
def new(name: str, into: Path, kind: str) -> None:
    r"""Write a plugin package that installs, with passing tests, into the new folder cdmd-NAME.

    \b
    cdmd plugin new loyalty
    cdmd plugin new till --kind connector
    cd cdmd-loyalty && python -m pip install -e '.[test]' && python -m pytest
    """
    short = plugin_name(name, kind)
    folder = into / f"{_PREFIX}{short}"
    write(folder, _words(short, kind))
    click.echo(f"wrote {folder}\n\nnext:\n  cd {folder}\n  python -m pip install -e '.[test]'\n  python -m pytest")


def _words(name: str, kind: str) -> dict[str, str]:
    chosen, module = _KINDS[kind], name.replace("-", "_")
    commands = f'\n[project.entry-points."cdmd.commands"]\n{name} = "cdmd_{module}:command"\n' if kind == "command" else ""
    first = {**chosen._asdict(), "kind": kind, "commands": commands}
    return {**first, "name": name, "module": module, "version": __version__}


def plugin_name(text: str, kind: str = "extension") -> str:
    """The plugin's name without the prefix ``cdmd-``; raises BadArguments where nothing can be called that."""
    name = text.removeprefix(_PREFIX)
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise BadArguments(
            f"{clean(text)!r} is not a plugin's name: write up to {_LONGEST} lower-case letters, digits and single hyphens,"
            " beginning with a letter, for example loyalty-points"
        )
    if iskeyword(name):
        raise BadArguments(f"the name {name} is a word of Python: write another, for example {name}-data")
    if name == "builtin" or name in _ours(kind):
        raise BadArguments(f"the name {name} is taken by cdmd itself")
    return name


def _ours(kind: str) -> Collection[str]:
    """What there is of that kind without any plugin, by name."""
    if kind == "command":
        return ENTRIES
    ours = Plugins.load([], {}, modules={"builtin": cdmd.builtin}) if kind in {"connector", "format", "target"} else None
    if ours is None:
        return ()
    found: Mapping[str, Collection[str]] = {
        "connector": ours.connector_types(),
        "format": ours.formats(),
        "target": ours.target_types(),
    }
    return found[kind]


def write(folder: Path, words: Mapping[str, str]) -> None:
    """Fill the templates with ``words`` into the new ``folder``. Raises CdmdError where it exists or cannot be written."""
    source = files("cdmd.cli") / "templates" / "plugin"
    try:
        folder.mkdir()
        for template, place in _TEMPLATES:
            target = folder / _filled(place, words)
            target.parent.mkdir(exist_ok=True, parents=True)
            target.write_text(_filled((source / _filled(template, words)).read_text("utf-8"), words), "utf-8")
        (folder / f"cdmd_{words['module']}" / "py.typed").touch()
    except FileExistsError:
        raise CdmdError(f"{folder} exists already; nothing was written") from None
    except OSError as error:
        raise CdmdError(f"{folder} cannot be written: {error.strerror}") from error


def _filled(text: str, words: Mapping[str, str]) -> str:
    for word, value in words.items():
        text = text.replace("{{" + word + "}}", value)
    return text
