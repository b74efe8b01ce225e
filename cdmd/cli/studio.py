"""``cdmd studio``: declare an API without code: propose from live answers, record answers, test against them offline."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cdmd.cli.lazy import Entry as Command
from cdmd.cli.lazy import LazyGroup
from cdmd.cli.terminal import clean, note, print_json
from cdmd.errors import BadArguments, CdmdError, NotFound

if TYPE_CHECKING:
    from cdmd.cli.loading import Loaded
    from cdmd.config.schema import ConnectorConfig
    from cdmd.connectors.rest import Rest
    from cdmd.connectors.rest.fixtures import Fixture
    from cdmd.connectors.rest.streams import Stream
    from cdmd.testing.source import RecordingSource

_HERE = "cdmd.cli.studio"
_config = click.option("--config", type=click.Path(path_type=Path), help="The configuration file.")
_folder = click.option(
    "--fixtures",
    type=click.Path(path_type=Path),
    help="The folder of recordings; `fixtures/CONNECTOR` beside the configuration.",
)


@click.group(
    cls=LazyGroup,
    entries={
        "probe": Command("cdmd.cli.studio_probe:probe", "Propose a connector from an API's live answers."),
        "record": Command(f"{_HERE}:record", "Record a connector's answers, without who is meant and without secrets."),
        "test": Command(f"{_HERE}:test", "Test a connector offline against its recordings."),
    },
)
def studio() -> None:
    r"""Declare an API without code: the connector is its TOML and its recordings.

    \b
    cdmd studio probe 'https://crm.example.com/v3/contacts?limit=100' --bearer env:CRM_TOKEN
    cdmd studio record crm
    cdmd studio test crm
    """


@click.command()
@click.argument("connector")
@_config
@_folder
@click.option("--pages", type=click.IntRange(1, 100), default=2, show_default=True, help="Pages of each stream.")
@click.option("--mask", multiple=True, metavar="GLOB", help="A field that is personal, too; may be repeated.")
@click.option("--keep", multiple=True, metavar="GLOB", help="A field that is not, whatever it is called; may be repeated.")
@click.option("--as-is", is_flag=True, help="Record answers that are no JSON, too: nothing personal is hidden in them.")
def record(
    connector: str,
    config: Path | None,
    fixtures: Path | None,
    pages: int,
    mask: tuple[str, ...],
    keep: tuple[str, ...],
    *,
    as_is: bool,
) -> None:
    r"""Ask every stream of CONNECTOR for its first pages and record the answers; nothing is stored.

    Credentials are never recorded. Fields that are called like personal data (email, name, phone ...) get made-up values, the
    same value always the same one; look at the files before you share them.

    \b
    cdmd studio record crm
    cdmd studio record crm --mask 'custom_*' --keep 'company_name'
    """
    from cdmd.cli.loading import load_all
    from cdmd.connectors.rest.fixtures import NotRecordable, encoded
    from cdmd.connectors.rest.masking import Masking

    loaded = load_all(config)
    one, built = _rest(loaded, connector)
    origin = "/".join(one.settings.base_url.split("/")[:3])
    masking = Masking(also=mask, kept=keep, secrets=_secrets(one.settings), origin=origin)
    folder = fixtures or _beside(one, connector)
    try:
        found = _recorded(loaded, one, built, masking, pages=pages, as_is=as_is)
    except NotRecordable as fault:
        raise CdmdError(str(fault)) from fault
    folder.mkdir(parents=True, exist_ok=True)
    for name, fixture in found.items():
        (folder / f"{name}.json").write_bytes(encoded(fixture))
        note(f"{folder / name}.json: {len(fixture.exchanges)} answers, {len(fixture.events)} events")


@click.command()
@click.argument("connector")
@_config
@_folder
@click.option("--update", is_flag=True, help="Take what comes out now as what is wanted.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def test(connector: str, config: Path | None, fixtures: Path | None, *, update: bool, as_json: bool) -> int:
    r"""Let CONNECTOR read its recordings: no network, no secrets; exit 1 where it asks or brings something else than then.

    \b
    cdmd studio test crm
    cdmd studio test crm --update     # after a change that was meant
    """
    from cdmd.cli.loading import load_all
    from cdmd.connectors.rest.fixtures import encoded

    one, built = _rest(load_all(config, alone=connector), connector)
    folder = fixtures or _beside(one, connector)
    rows: list[dict[str, Any]] = []
    for name, stream in built.declared.items():
        then = _read(folder / f"{name}.json")
        now, differs = _replayed(one, built, stream, then)
        if update:
            (folder / f"{name}.json").write_bytes(encoded(now))
        else:
            differs += _differences(then, now)
        rows.append({"stream": name, "events": len(now.events), "keeps": now.keeps, "differs": differs})
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            click.echo(f"{row['stream']}: {row['events']} events" + (f", keeps {row['keeps']}" if row["keeps"] else ""))
            for line in row["differs"]:
                click.echo(f"{row['stream']}: {clean(line)}", err=True)
    return 1 if any(row["differs"] for row in rows) else 0


def _rest(loaded: "Loaded", connector: str) -> tuple["ConnectorConfig", "Rest"]:
    from cdmd.connectors.rest import Rest

    one = loaded.config.connectors.get(connector)
    if one is None:
        names = ", ".join(sorted(name for name, other in loaded.config.connectors.items() if other.frame.type == Rest.type))
        raise NotFound(f"there is no connector {connector!r}; of type rest are configured: {names or 'none'}")
    if one.frame.type != Rest.type:
        raise BadArguments(f'{connector} is of type {one.frame.type}; the studio is for connectors of type "{Rest.type}"')
    return one, Rest(one.name, one.settings)


def _beside(one: "ConnectorConfig", connector: str) -> Path:
    folder = Path(one.file).parent
    return (folder.parent if folder.name == "conf.d" else folder) / "fixtures" / connector


def _read(file: Path) -> "Fixture":
    import msgspec

    from cdmd.connectors.rest.fixtures import decoded

    try:
        return decoded(file.read_bytes())
    except FileNotFoundError:
        raise NotFound(f"{file} is not there; record it with: cdmd studio record") from None
    except (msgspec.DecodeError, OSError) as error:
        raise CdmdError(f"{file} cannot be read as a recording: {error}") from error


def _secrets(settings: Any) -> list[str]:
    """Every secret of the settings as text."""
    import msgspec

    from cdmd.kit.secret import Secret

    if isinstance(settings, Secret):
        return [settings.reveal().decode("utf-8", "replace").strip()]
    if isinstance(settings, msgspec.Struct):
        settings = [getattr(settings, name) for name in settings.__struct_fields__]
    held = settings.values() if isinstance(settings, dict) else settings if isinstance(settings, list | tuple) else ()
    return [text for one in held for text in _secrets(one)]


def _recorded(
    loaded: "Loaded", one: "ConnectorConfig", built: "Rest", masking: Any, *, pages: int, as_is: bool
) -> dict[str, "Fixture"]:
    """A fixture of every stream, parents first: what a child asks about is what its parent's recording brings."""
    import ssl
    from datetime import UTC, datetime

    import anyio

    from cdmd.connectors.rest.fixtures import Fixture, Recorder, walked
    from cdmd.kit.addresses import hosts_in, parse_networks
    from cdmd.kit.egress import GuardedHttp

    found: dict[str, Fixture] = {}
    began = datetime.now(UTC).replace(microsecond=0)
    tls = ssl.create_default_context()

    async def run() -> None:
        allowed = parse_networks(loaded.config.network.allow_addresses)
        async with GuardedHttp(hosts=hosts_in(one.settings), allowed=allowed, tls=tls) as http:
            source, sources = _source(one, built, began, http=http, waits=True), dict[str, RecordingSource]()
            fetcher = built.fetcher(source)
            for name, stream in _parents_first(built.declared):
                parent = stream.settings.parent
                parents = [] if parent is None else _due(stream, sources[parent.stream])
                recorder = Recorder(fetcher, masking=masking, as_is=as_is)
                asking = _source(one, built, began, waits=True)
                looks, _ = await walked(stream, asking, recorder.means, parents=parents, pages=pages)
                for trouble in {look.trouble for look in looks if look.trouble}:
                    note(f"{name}: {clean(trouble)}")
                fixture = Fixture(recorded=began, exchanges=recorder.exchanges, parents=parents, pages=pages)
                sources[name] = _source(one, built, began)
                found[name], _ = await _run(stream, fixture, sources[name])

    from cdmd.testing.source import RecordingSource

    anyio.run(run)
    return found


def _replayed(one: "ConnectorConfig", built: "Rest", stream: "Stream", then: "Fixture") -> tuple["Fixture", list[str]]:
    import anyio

    return anyio.run(_run, stream, then, _source(one, built, then.recorded))


async def _run(stream: "Stream", fixture: "Fixture", source: "RecordingSource") -> tuple["Fixture", list[str]]:
    """The fixture with what comes out now, and where the requests are other ones."""
    import msgspec

    from cdmd.connectors.rest.fixtures import Replay, keeps, walked
    from cdmd.profiles.shape import event_document

    replay = Replay(fixture.exchanges)
    looks, place = await walked(stream, source, replay.means, parents=fixture.parents, pages=fixture.pages)
    events = [{name: part for name, part in event_document(event).items() if name != "received"} for event in source.events]
    differs = [*replay.differs, *(look.trouble for look in looks if look.trouble and not replay.differs)]
    differs += [f"record {place}: {fault.code}: {fault.message}" for place, fault in source.faults]
    if replay.left and not differs:
        differs.append(f"{replay.left} recorded answers were not asked for")
    now = msgspec.structs.replace(fixture, events=msgspec.json.decode(msgspec.json.encode(events)), keeps=keeps(stream, place))
    return now, differs


def _differences(then: "Fixture", now: "Fixture") -> list[str]:
    found = [] if then.keeps == now.keeps else [f"it would keep {now.keeps}; recorded was {then.keeps}"]
    if len(then.events) != len(now.events):
        found.append(f"{len(now.events)} events come out; recorded were {len(then.events)}")
    for place, (before, after) in enumerate(zip(then.events, now.events, strict=False), 1):
        keys = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
        if keys:
            found.append(f"event {place} ({after.get('id')}): {', '.join(keys)} differ")
    return found[:20]


def _source(one: "ConnectorConfig", built: "Rest", now: Any, *, http: Any = None, waits: bool = False) -> "RecordingSource":
    from cdmd.testing.source import RecordingSource

    return RecordingSource(one.name, frame=one.frame, http=http, clock=_Then(now, waits=waits), streams=built.streams)


class _Then:
    """The moment of the recording; waiting takes no time unless it ``waits``."""

    def __init__(self, now: Any, *, waits: bool) -> None:
        from cdmd.kit.clock import SystemClock

        self._now, self._clock, self._waits = now, SystemClock(), waits

    def now(self) -> Any:
        return self._now

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds if self._waits else 0.0)


def _parents_first(declared: Any) -> list[tuple[str, "Stream"]]:
    def depth(name: str) -> int:
        parent = declared[name].settings.parent
        return 0 if parent is None else 1 + depth(parent.stream)

    return sorted(declared.items(), key=lambda item: depth(item[0]))


def _due(stream: "Stream", parents: "RecordingSource") -> list[dict[str, Any]]:
    import msgspec

    rows = [value for key, value in parents.state.items() if key.startswith(stream.due)]  # in order of their coming
    return [msgspec.msgpack.decode(row) for row in rows[:2]]
