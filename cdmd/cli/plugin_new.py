"""``cdmd plugin new``: writes a plugin package that installs, with passing tests. Nothing of it is installed here."""

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

import click

from cdmd import __version__
from cdmd.cli.lazy import Entry, LazyGroup
from cdmd.cli.terminal import clean
from cdmd.errors import BadArguments, CdmdError

_PREFIX: Final = "cdmd-"
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST: Final = 40
_TAKEN: Final = {"builtin"}
_TEMPLATES: Final = (
    ("pyproject.toml.txt", "pyproject.toml"),
    ("README.md.txt", "README.md"),
    ("package.py.txt", "cdmd_{{module}}/__init__.py"),
    ("test.py.txt", "tests/test_{{module}}.py"),
)


@click.group(cls=LazyGroup, entries={"new": Entry("cdmd.cli.plugin_new:new", "Write a plugin package that installs.")})
def plugin() -> None:
    """Start a plugin package of your own."""


@click.command()
@click.argument("name")
@click.option(
    "--into",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path(),
    help="The folder to write it into, instead of this one.",
)
def new(name: str, into: Path) -> None:
    r"""Write a plugin package that installs, with passing tests, into the new folder cdmd-NAME.

    \b
    cdmd plugin new loyalty
    cd cdmd-loyalty && python -m pip install -e '.[test]' && python -m pytest
    """
    short = plugin_name(name)
    folder = into / f"{_PREFIX}{short}"
    write(folder, {"name": short, "module": short.replace("-", "_"), "version": __version__})
    click.echo(f"wrote {folder}\n\nnext:\n  cd {folder}\n  python -m pip install -e '.[test]'\n  python -m pytest")


def plugin_name(text: str) -> str:
    """The plugin's name without the prefix ``cdmd-``; raises BadArguments where a package cannot be called that."""
    name = text.removeprefix(_PREFIX)
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise BadArguments(
            f"{clean(text)!r} is not a plugin's name: write up to {_LONGEST} lower-case letters, digits and single hyphens,"
            " beginning with a letter, for example loyalty-points"
        )
    if name in _TAKEN:
        raise BadArguments(f"the name {name} is taken by cdmd itself")
    return name


def write(folder: Path, words: Mapping[str, str]) -> None:
    """Fill the templates with ``words`` into the new ``folder``. Raises CdmdError where it exists or cannot be written."""
    source = files("cdmd.cli") / "templates" / "plugin"
    try:
        folder.mkdir()
        for template, place in _TEMPLATES:
            target = folder / _filled(place, words)
            target.parent.mkdir(exist_ok=True)
            target.write_text(_filled((source / template).read_text("utf-8"), words), "utf-8")
        (folder / f"cdmd_{words['module']}" / "py.typed").touch()
    except FileExistsError:
        raise CdmdError(f"{folder} exists already; nothing was written") from None
    except OSError as error:
        raise CdmdError(f"{folder} cannot be written: {error.strerror}") from error


def _filled(text: str, words: Mapping[str, str]) -> str:
    for word, value in words.items():
        text = text.replace("{{" + word + "}}", value)
    return text
