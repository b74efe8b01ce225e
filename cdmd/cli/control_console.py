"""``cdmctl console``: the daemon's web console for a browser on this machine, for as long as the command runs."""

import os
import secrets

import click

from cdmd.cli.connection import client, talks
from cdmd.cli.loopback import SESSION_HOURS, Loopback
from cdmd.cli.running import until_interrupted
from cdmd.cli.terminal import note
from cdmd.errors import CdmdError, NotPermitted


@click.command
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="The port on 127.0.0.1; any free one where nothing is said."
)
@talks
def console(port: int) -> None:
    r"""Pages for a browser, on loopback until Ctrl-C.

    Prints an address that works once, for one browser. The pages show what you may see by cdmctl, and change what you may
    change by it.

    \b
    cdmctl console
    cdmctl console --port 8790        (and from elsewhere: ssh -L 8790:127.0.0.1:8790 HOST)
    """
    asked = client()
    me = asked.get("/v1/me")
    if me["role"] == "none":
        raise NotPermitted(f"{me['user']} may see nothing: ask to be listed in control.readers or control.admins")
    try:
        server = Loopback(asked, port=port, ticket=secrets.token_urlsafe(24), users=_users())
    except OSError as error:
        raise CdmdError(f"127.0.0.1:{port} cannot be listened on ({error.strerror}): name another with --port") from error
    with until_interrupted(), server:
        click.echo(server.address)
        note(f"for one browser, as {me['user']} ({me['role']}), for {SESSION_HOURS} hours at most; Ctrl-C ends it")
        note(f"from another machine: ssh -L {server.port}:127.0.0.1:{server.port} THIS_HOST, then open the same address there")
        server.serve_forever(0.2)


def _users() -> frozenset[int]:
    """Whose browser may ask: this user's, and under sudo that of who called it."""
    caller = os.environ.get("SUDO_UID", "")
    return frozenset({os.getuid(), *([int(caller)] if os.getuid() == 0 and caller.isdigit() else [])})
