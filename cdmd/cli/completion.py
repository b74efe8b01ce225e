"""``completion``, of both commands: the script by which a shell completes their words and the running daemon's names."""

import click
from click.shell_completion import get_completion_class

_SHELLS = ("bash", "zsh", "fish")


@click.command
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    r"""Print the script that completes this command in a shell.

    \b
    cdmctl completion bash > ~/.local/share/bash-completion/completions/cdmctl
    cdmctl completion zsh > "${fpath[1]}/_cdmctl"
    cdmctl completion fish > ~/.config/fish/completions/cdmctl.fish
    """
    root = ctx.find_root()
    name = root.info_name or ""
    found = get_completion_class(shell)
    if found is not None:
        click.echo(found(root.command, {}, name, f"_{name.upper()}_COMPLETE").source())
