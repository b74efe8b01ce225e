"""A command as it was written for hooks 1.0."""

import click

import cdmd


@click.command("frozen")
@click.argument("word")
def frozen(word: str) -> None:
    """Say it."""
    click.echo(f"frozen: {word}")


@cdmd.hookimpl
def cdmd_startup() -> None:
    """Without arguments, as it may be."""


@cdmd.hookimpl
def cdmd_commands() -> list[click.Command]:
    return [frozen]
