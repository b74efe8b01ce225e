"""How both commands end: our errors become one sentence on stderr and an exit status that scripts can rely on."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, EIO, ENOSPC
from os import O_WRONLY, devnull, dup2, environ
from os import open as open_fd
from typing import Final

import click
from click.exceptions import NoArgsIsHelpError

from cdmd.cli.plugin_path import extend_path
from cdmd.cli.terminal import clean, coloured
from cdmd.errors import BadArguments, CdmdError, ConfigInvalid, NotFound, NotPermitted, Unreachable

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
_NOT_TAKEN: Final = frozenset((ENOSPC, EDQUOT, EFBIG, EIO))

_STATUSES: Final[tuple[tuple[type[CdmdError], int, str], ...]] = (
    (BadArguments, USAGE, "wrong usage"),
    (Unreachable, 3, "the daemon cannot be reached"),
    (NotFound, 4, "not found"),
    (NotPermitted, 5, "not permitted"),
    (ConfigInvalid, 6, "the configuration is invalid"),
)


def exit_statuses() -> list[tuple[int, str]]:
    """Every exit status and what it means."""
    return [(DONE, "done"), (FAILED, "failed"), *((status, text) for _, status, text in _STATUSES)]


def run(command: click.Command, arguments: Sequence[str] | None = None, *, name: str) -> int:
    """Run the command and return its exit status; says what failed on stderr."""
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # Somebody's name must not end a command whose terminal knows only ASCII.
            stream.reconfigure(errors="backslashreplace")
    for problem in extend_path(environ):
        click.echo(f"{name}: {clean(problem)}", err=True)
    try:
        colour = None if coloured(environ) else False
        status = command.main(args=arguments, prog_name=name, standalone_mode=False, color=colour)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.ClickException as error:
        return _complain(error, name)
    except CdmdError as error:
        return _fail(error, name)
    except OSError as error:
        return _refused(error, name)
    return status if isinstance(status, int) else DONE


@contextmanager
def until_interrupted() -> Iterator[None]:
    """For streams: Ctrl-C and a reader that has seen enough end them quietly."""
    try:
        yield
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        _print_no_more()


def _print_no_more() -> None:
    """The interpreter flushes stdout once more at its end, and would complain then."""
    dup2(open_fd(devnull, O_WRONLY), sys.stdout.fileno())


def _open_what_is_closed() -> None:
    """A command that was started without stdout or stderr prints into nothing."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - as long as the process


def _refused(error: OSError, name: str) -> int:
    """What the machine does not give, in a sentence; anything else is a mistake of ours."""
    if isinstance(error, PermissionError) and error.filename is not None:
        # Any path that was named, or the configuration names, may lie where one may not look.
        return _fail(NotPermitted(f"{error.filename}: {error.strerror}: act as who it belongs to, or as root"), name)
    if error.errno in _NOT_TAKEN:
        _print_no_more()
        return _fail(
            CdmdError(f"what this writes is not taken: {error.strerror}: make room there, or write it elsewhere"), name
        )
    raise error


def _complain(error: click.ClickException, name: str) -> int:
    if isinstance(error, NoArgsIsHelpError):
        error.show()  # a group by its name alone: what it has is what was asked
        return error.exit_code
    if isinstance(error, click.UsageError) and error.ctx is not None:
        click.echo(error.ctx.get_usage(), err=True)
    click.echo(f"{name}: {clean(error.format_message())}", err=True)
    return error.exit_code


def _fail(error: CdmdError, name: str) -> int:
    # A mistake of the configuration begins with its file, as compilers write it: editors find their way by that.
    lines = error.problems if isinstance(error, ConfigInvalid) else [f"{name}: {error}"]
    for line in lines:
        click.echo(clean(line), err=True)
    return next((status for kind, status, _ in _STATUSES if isinstance(error, kind)), FAILED)
