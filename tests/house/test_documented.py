"""Every command, key, metric, hook, public name, request and error stands in a guide, as the code has it."""

import inspect
from pathlib import Path

import pytest

from cdmd import errors
from cdmd.builtin import cdmd_connectors, cdmd_formats, cdmd_targets
from cdmd.cli import reference
from cdmd.cli.control_commands import cli as cdmctl
from cdmd.cli.daemon_commands import cli as cdmd
from cdmd.config.reference import preset_table
from cdmd.config.reference import reference as keys
from cdmd.control.problems import codes
from cdmd.daemon.figures import metric_table
from cdmd.errors import CdmdError
from tests.house.reading import ROOT


def _keys() -> str:
    return keys(
        {one.type: one.Settings for one in cdmd_connectors()},
        {form.name: form.Settings for form in cdmd_formats()},
        {one.type: one.Settings for one in cdmd_targets()},
    )


TABLES = {
    "commands of cdmd": ("README.md", lambda: reference.command_table(cdmd, name="cdmd")),
    "commands of cdmctl": ("README.md", lambda: reference.command_table(cdmctl, name="cdmctl")),
    "keys": ("etc/README.md", _keys),
    "presets": ("etc/README.md", preset_table),
    "predefined connectors": ("etc/README.md", reference.library_table),
    "metrics": ("systemd/README.md", metric_table),
    "requests": ("systemd/README.md", reference.api_table),
    "errors": ("systemd/README.md", reference.problem_table),
    "hooks": ("plugins/README.md", reference.hook_table),
    "public names": ("plugins/README.md", reference.name_table),
}


@pytest.mark.parametrize("what", TABLES)
def test_all_of_them_are_in_the_guide_with_what_they_are(what: str) -> None:
    file, table = TABLES[what]
    guide = Path(ROOT / file).read_text()
    rows = [line for line in table().splitlines() if line.startswith("|")]
    assert len(rows) > 2
    missing = [row for row in rows if row not in guide]
    assert missing == [], f"run: python -m cogapp -r {file}"
    bare = [row for row in rows if row.rstrip().endswith("|  |") and what != "presets"]
    assert bare == [], "say what it is"


def test_every_error_says_what_it_means_and_crosses_the_socket_under_a_code() -> None:
    kinds = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, CdmdError)]
    assert len(kinds) > 10
    for kind in kinds:
        sentence = (kind.__doc__ or "").strip().partition("\n")[0]
        assert sentence.endswith((".", "``;", ";")), kind
    assert len({code for code, _, _ in codes()}) == len(codes())


def test_no_path_and_no_problem_is_told_twice() -> None:
    rows = reference.api_table().splitlines()
    assert len(set(rows)) == len(rows)
