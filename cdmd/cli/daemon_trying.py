"""``cdmd try``: what a connector would bring in, as events in JSON Lines. Stores nothing, acknowledges nothing."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cdmd.cli.terminal import note, print_json
from cdmd.errors import BadArguments, CdmdError, NotFound

if TYPE_CHECKING:
    from cdmd.contracts import PushConnector
    from cdmd.testing.source import RecordingSource

_FIRST_ERROR = 400


@click.command("try")
@click.argument("connector")
@click.option("--config", type=click.Path(path_type=Path), help="The configuration file.")
@click.option(
    "--input",
    "input_",
    type=click.File("rb"),
    help="A request body as it is sent (- is standard input), or a file.",
)
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="A header of the request; may be repeated.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Show at most so many events.")
def try_connector(connector: str, config: Path | None, input_: Any, headers: tuple[str, ...], limit: int) -> int:
    r"""Show what CONNECTOR would bring in, as events in JSON Lines; what cannot be mapped is named on stderr.

    A file that no connector knows may be given instead: what it seems to be is proposed on stderr as a configuration
    to paste, and its first events are shown as that would bring them.

    A webhook reads one request body from a file; its signature is not checked. One that only notifies shows the
    requests that it would make, and makes none.
    A connector of files looks at its area, says which host key it shows, and reads the file that would be read
    first, or the one given; nothing is moved or remembered.

    \b
    cdmd try shop --input order.json
    cdmd try github --input push.json --header 'X-GitHub-Event: push'
    cdmd try supplier
    cdmd try supplier --input customers.csv
    cdmd try customers.csv
    """
    # What reads a configuration and maps is imported when it is needed: --help shall be quick.
    import anyio

    from cdmd.cli.loading import load_all
    from cdmd.config.meaning import NAME
    from cdmd.config.schema import Absent
    from cdmd.contracts import NotifiedConnector, PushConnector, SamplingConnector
    from cdmd.testing.source import RecordingSource

    file = Path(connector)
    if not NAME.fullmatch(connector) and file.is_file():
        return _propose(file, limit)
    loaded = load_all(config)
    one = loaded.config.connectors.get(connector)
    if one is None and file.is_file():
        return _propose(file, limit)
    if one is None:
        names = ", ".join(sorted(loaded.config.connectors)) or "none"
        raise NotFound(f"there is no connector {connector!r} and no file of that name; configured are: {names}")
    if isinstance(one.settings, Absent):
        raise CdmdError(one.settings.unavailable)
    built = loaded.plugins.connector_types()[one.frame.type](one.name, one.settings)
    if isinstance(built, SamplingConnector):
        from cdmd.cli.daemon_sampling import sampled

        return _show(sampled(built, one, loaded, limit=limit, given=None if input_ is None else _path(input_)), None, limit)
    source = RecordingSource(one.name, frame=one.frame, streams=getattr(built, "streams", {}))
    if not isinstance(built, PushConnector):
        raise CdmdError(f"{connector} fetches by itself, and its type cannot be tried: it has no `sample`")
    if input_ is None:
        raise BadArguments(f"{connector} is told by its sender: give a request body with --input FILE")
    refused = anyio.run(_feed, built, source, input_.read(), headers)
    asks = built.would_fetch() if isinstance(built, NotifiedConnector) else []
    for ask in asks[:limit]:
        print_json(ask, line=True)
    return _show(source, refused, limit)


def _propose(file: Path, limit: int) -> int:
    from cdmd.cli.daemon_proposing import proposed

    return _show(proposed(file, limit=limit), None, limit)


async def _feed(connector: "PushConnector", source: "RecordingSource", body: bytes, headers: tuple[str, ...]) -> str | None:
    """One request through the connector, unverified; the sentence it was refused with, or None."""
    from cdmd.models import Request

    given = [_header(text) for text in headers]
    if not any(name == "content-type" for name, _ in given):
        given.append(("content-type", "application/json"))
    request = Request(method="POST", path="/", query="", headers=given, body=body, peer="", received=datetime.now(UTC))
    read = getattr(connector, "read", None) or connector.answer  # a plugin's may have no ``read``
    answer = await read(request, source)
    return None if answer.status < _FIRST_ERROR else f"status {answer.status} {answer.body.decode(errors='replace')}".strip()


def _path(given: Any) -> Path:
    path = Path(given.name)
    given.close()
    if not path.is_file():
        raise BadArguments("give a file with --input: it is read more than once")
    return path


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise BadArguments(f"--header {text!r}: write NAME:VALUE")
    return name.strip().lower(), value.strip()


def _show(source: "RecordingSource", refused: str | None, limit: int) -> int:
    from cdmd.profiles.shape import event_document

    for event in source.events[:limit]:
        print_json(event_document(event), line=True)
    if source.stopped:
        click.echo("there are more events; see --limit", err=True)
    elif len(source.events) > limit:
        click.echo(f"{len(source.events) - limit} more events; see --limit", err=True)
    for place, fault in source.faults:
        note(f"record {place}: {fault.code}: {fault.message}")
    if source.filtered:
        click.echo(f"{len(source.filtered)} filtered ({', '.join(sorted(set(source.filtered)))})", err=True)
    if refused is not None:
        note(f"cdmd: the request would be refused: {refused}")
    sys.stdout.flush()
    return 1 if refused is not None or source.faults or source.trouble else 0
