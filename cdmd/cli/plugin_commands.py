"""``cdmd plugin``: what there is for authors of plugins, none of it loaded before it is called."""

import click

from cdmd.cli.lazy import Entry, LazyGroup


@click.group(
    cls=LazyGroup,
    entries={
        "new": Entry("cdmd.cli.plugin_new:new", "Write a plugin package that installs."),
        "check": Entry("cdmd.cli.plugin_check:check", "Where a plugin stands on the scale, and what it lacks."),
    },
)
def plugin() -> None:
    """Start a plugin package of your own, and see where it stands."""
