"""What is configured for the whole daemon, as structs: the tables of CONTRACT's TOML that no connector type owns.

A connector's own keys are checked by its type's settings struct; what every connector has in common is ``ConnectorFrame``.
Every key has a description here, from which ``etc/README.md`` is generated.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from cdmd.config.governing import PrivacySettings
from cdmd.config.outbound import DeliverySettings, TargetConfig
from cdmd.config.sharing import JournalSettings
from cdmd.config.storing import StoreSettings
from cdmd.config.telemetry import MetricsSettings, OpenTelemetrySettings
from cdmd.contracts import EventSettings
from cdmd.kit.quantities import Duration, Size
from cdmd.kit.secret import Secret


def _d(text: str) -> Duration:
    return Duration.parse(text)


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the configuration: unknown keys are mistakes."""


class DaemonSettings(_Table, frozen=True, kw_only=True):
    """``[daemon]``."""

    state_dir: Annotated[str | None, Meta(description="Where journal and store live (directory, mode 0700).")] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The least severe lines that are logged.")
    ] = "info"
    drain: Annotated[Duration, Meta(description="How long a stop may work on what is still queued.")] = _d("8s")


class TlsSettings(_Table, frozen=True, kw_only=True):
    """``[http] tls``."""

    certificate: Annotated[Secret, Meta(description="The certificate chain (PEM), as `file:PATH`.")]
    key: Annotated[Secret, Meta(description="Its private key (PEM).")]
    client_ca: Annotated[
        Secret | None,
        Meta(description="Authorities (PEM) whose certificates clients may show; see `client_names` of a connector."),
    ] = None


class ProxySettings(_Table, frozen=True, kw_only=True):
    """``[http] proxies``: the reverse proxies in front, which alone are believed about whom they speak for."""

    trusted: Annotated[tuple[str, ...], Meta(description="Networks (CIDR) that they call from; `unix` for a unix socket.")]
    hops: Annotated[int, Meta(description="How many stand behind each other.", ge=1, le=10)] = 1
    header: Annotated[str, Meta(description="The header to which each appends the address it was called from.")] = (
        "x-forwarded-for"
    )
    subject_header: Annotated[
        str | None, Meta(description="The header with the subject of a client's certificate, as `CN=sender,O=Acme`.")
    ] = None
    verify_header: Annotated[
        str | None, Meta(description="The header that says `SUCCESS` when the proxy has verified that certificate.")
    ] = None

    def __post_init__(self) -> None:
        if (self.subject_header is None) != (self.verify_header is None):
            raise ValueError("`subject_header` and `verify_header` go together")


class HttpSettings(_Table, frozen=True, kw_only=True):
    """``[http]``."""

    listen: Annotated[
        tuple[str, ...], Meta(description="Addresses: `HOST:PORT`, `[IPV6]:PORT`, or `fd:NAME` (socket activation by name).")
    ] = ("127.0.0.1:8787",)
    public_url: Annotated[str | None, Meta(description="The address senders use, for what is shown and signed.")] = None
    max_body: Annotated[Size, Meta(description="The largest request body, before and after decompression.")] = Size.parse(
        "1MiB"
    )
    tls: Annotated[TlsSettings | None, Meta(description="Serve HTTPS with this certificate and key.")] = None
    proxies: Annotated[ProxySettings | None, Meta(description="The reverse proxies in front, if there are any.")] = None
    max_connections: Annotated[int, Meta(description="Connections held at once; beyond it new ones wait or get 503.", ge=1)] = (
        2000
    )
    header_timeout: Annotated[Duration, Meta(description="A request's headers must have arrived by then.")] = _d("10s")
    body_timeout: Annotated[Duration, Meta(description="A request's body must have arrived by then.")] = _d("30s")
    max_header_bytes: Annotated[Size, Meta(description="The most bytes of request line and headers.")] = Size.parse("64KiB")


class ControlSettings(_Table, frozen=True, kw_only=True):
    """``[control]``."""

    socket: Annotated[str | None, Meta(description="The control socket's path.")] = None
    admins: Annotated[
        tuple[str, ...], Meta(description="Users and `@groups` that may change things and see personal data.")
    ] = ("root", "@cdmadm")
    readers: Annotated[tuple[str, ...], Meta(description="Users and `@groups` that may look; never at personal data.")] = (
        "@adm",
    )


class NetworkSettings(_Table, frozen=True, kw_only=True):
    """``[network]``."""

    allow_addresses: Annotated[
        tuple[str, ...], Meta(description="Private networks (CIDR) that names from the configuration may resolve to.")
    ] = ()


class QueueSettings(_Table, frozen=True, kw_only=True):
    """``[queue]``."""

    max_events: Annotated[int, Meta(description="Events that may wait for the journal.", ge=1)] = 10_000
    max_bytes: Annotated[Size, Meta(description="Bytes that may wait for the journal.")] = Size.parse("64MiB")


class DeadLetterSettings(_Table, frozen=True, kw_only=True):
    """``[dead_letters]``."""

    keep: Annotated[Duration, Meta(description="How long a dead letter is kept.")] = _d("14d")
    raw: Annotated[bool, Meta(description="Keep the whole record that could not be mapped, so that it can be retried.")] = True


class DedupeSettings(_Table, frozen=True, kw_only=True):
    """``[dedupe]``."""

    keep: Annotated[Duration, Meta(description="How long an event's identity is remembered at least.")] = _d("400d")


class ParkedSettings(_Table, frozen=True, kw_only=True):
    """``[parked]``."""

    max_events: Annotated[int, Meta(description="Events that may wait for extensions; beyond it they become dead letters.")] = (
        100_000
    )
    keep: Annotated[Duration, Meta(description="How long an event may wait for an extension.")] = _d("72h")


NOBODY: Final = (
    *("[0-]*", "-1", "null", "none", "nil", "nan", "n/?a", "undefined", "unknown", "anonymous", "guest", "true", "false"),
    *(".object object.", "test", "test@test", "test@test[.][.a-z]*", "no-?reply@.*"),
)
"""What programs write where they know nobody; as an identifier it would make strangers one person."""


class IdentifierSettings(_Table, frozen=True, kw_only=True):
    """``[identity.identifiers] KIND``."""

    priority: Annotated[int, Meta(description="1 is the strongest; the weakest is given up first in a conflict.", ge=1)] = 100
    limit: Annotated[int, Meta(description="How many values of this kind one profile may have.", ge=1)] = 5
    per: Annotated[Literal["ever", "week", "month", "year"], Meta(description="The period the limit counts in.")] = "ever"
    shared: Annotated[
        bool | None,
        Meta(
            description="Several people may use one value (a device): it joins nobody with somebody who has another value of a"
            " kind that is not shared. By default true for `anonymous_id`."
        ),
    ] = None
    normalize: Annotated[
        Literal["none", "trim", "lower", "email", "phone"] | None,
        Meta(description="How a value is brought to one form; by default `email` for email, `phone` for phone, else `trim`."),
    ] = None
    region: Annotated[str | None, Meta(description="The region (ISO 3166) of phone numbers without a country code.")] = None
    hashed: Annotated[
        str | None,
        Meta(
            description=(
                "The kind whose values these are SHA-256 digests of (hexadecimal or base64): they match the plain ones. A kind "
                "named `KIND_sha256` is one of KIND without being told."
            )
        ),
    ] = None
    blocked: Annotated[
        tuple[str, ...], Meta(description="Regular expressions; a value that matches whole never identifies.")
    ] = NOBODY


def default_identifiers() -> dict[str, IdentifierSettings]:
    """The kinds that join people when nothing is configured."""
    return {
        "user_id": IdentifierSettings(priority=1, limit=1),
        "customer_no": IdentifierSettings(priority=2, limit=1),
        "email": IdentifierSettings(priority=3, limit=5),
        "phone": IdentifierSettings(priority=4, limit=5),
        "anonymous_id": IdentifierSettings(priority=9, limit=50),
    }


class IdentitySettings(_Table, frozen=True, kw_only=True):
    """``[identity]``."""

    identifiers: Annotated[
        dict[str, IdentifierSettings], Meta(description="The kinds that join people, replacing the defaults.")
    ] = msgspec.field(default_factory=default_identifiers)


class TraitSettings(_Table, frozen=True, kw_only=True):
    """``[traits.NAME]``."""

    trust: Annotated[
        tuple[str, ...],
        Meta(
            description="Sources (a connector, or connector.stream), the most trusted first: what one said gives way only to"
            " something newer of its own, and to whatever one before it says. All others come last, by time."
        ),
    ] = ()


class IndicatorSettings(_Table, frozen=True, kw_only=True):
    """``[indicators.NAME]``."""

    on: Annotated[
        tuple[str, ...] | str | None,
        Meta(description="Event types (globs) that it counts. Without it, it is calculated from other indicators."),
    ] = None
    value: Annotated[
        str | None,
        Meta(
            description="A template over the event: the value; not needed for `count`. Calculated: CEL over `indicators`, whose"
            " numbers are all doubles (`indicators.spent / indicators.orders`)."
        ),
    ] = None
    compute: Annotated[
        Literal["count", "sum", "min", "max", "average", "stddev", "first", "last", "distinct"],
        Meta(description="What is computed. `stddev` is of all values; `distinct` is exact to 1,000, then an estimate."),
    ] = "count"
    where: Annotated[str | None, Meta(description="A CEL condition over `event`; only events it is true for count.")] = None
    window: Annotated[
        str | None,
        Meta(
            description="What counts: a duration (`30d`) up to now, or the current `day`, `week`, `month` or `year`, with a"
            " time zone (`month Europe/Stockholm`). Without it everything counts."
        ),
    ] = None
    thresholds: Annotated[
        tuple[float, ...],
        Meta(description="Values: an event that takes it across one is told (`indicator.crossed`)."),
    ] = ()
    step: Annotated[
        Duration | None, Meta(description="In which steps a duration moves; by default a sixtieth of it within 1m and 1d.")
    ] = None


class AudienceSettings(_Table, frozen=True, kw_only=True):
    """``[audiences.NAME]``."""

    required_purposes: Annotated[
        tuple[str, ...], Meta(description="Purposes that a customer must have granted to be in it.")
    ] = ()
    where: Annotated[
        str,
        Meta(
            description="A CEL condition over `indicators`, `profile` (`identifiers`, `traits`, `created`, `updated`), `now`."
        ),
    ]


class ConnectorFrame(_Table, frozen=True, kw_only=True):
    """``[connectors.NAME]``: the keys that every connector type has."""

    type: Annotated[str, Meta(description="The connector type.")]
    use: Annotated[
        str | None, Meta(description="A predefined connector (`cdmd library`) that this table is laid over; its keys win.")
    ] = None
    was: Annotated[tuple[str, ...], Meta(description="Earlier names, the first one first: positions and ids go on.")] = ()
    accept: Annotated[
        tuple[str, ...], Meta(description="Event types (globs) that are wanted; others never reach the disk.")
    ] = ("*",)
    where: Annotated[str | None, Meta(description="A CEL condition over `event`; others never reach the disk.")] = None
    known_only: Annotated[bool, Meta(description="Keep only events about customers that are already known.")] = False
    freshness: Annotated[Duration | None, Meta(description="The objective that `status` measures against.")] = None
    event: Annotated[EventSettings | None, Meta(description="How a record becomes an event.")] = None
    reconcile: Annotated[
        str | None,
        Meta(
            description=(
                "A stream of a connector that fetches (`crm.contacts`) and finds what this one was not told of; ids must agree."
            )
        ),
    ] = None


FRAME_KEYS = frozenset(ConnectorFrame.__struct_fields__)


class Absent(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a connector whose type is missing because a plugin is: why, and the path that it names, if any."""

    unavailable: str
    path: str | None = None


class ConnectorConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One connector, checked: its frame, its type's own settings struct (or ``Absent``), and the file it came from."""

    name: str
    frame: ConnectorFrame
    settings: Any
    file: str


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The effective configuration. ``warnings`` are sentences in the form of mistakes; ``files`` what was read, in order.

    ``effective`` is the whole of it as plain data with every secret replaced by its reference (``config show``).
    ``plugin_problems`` are mistakes in plugins' own tables, by plugin: they stop that plugin at most.
    """

    state_dir: Path
    control_socket: Path
    daemon: DaemonSettings = DaemonSettings()
    http: HttpSettings = HttpSettings()
    control: ControlSettings = ControlSettings()
    metrics: MetricsSettings = MetricsSettings()
    opentelemetry: OpenTelemetrySettings = OpenTelemetrySettings()
    network: NetworkSettings = NetworkSettings()
    queue: QueueSettings = QueueSettings()
    journal: JournalSettings = JournalSettings()
    store: StoreSettings = StoreSettings()
    dead_letters: DeadLetterSettings = DeadLetterSettings()
    dedupe: DedupeSettings = DedupeSettings()
    deliveries: DeliverySettings = DeliverySettings()
    parked: ParkedSettings = ParkedSettings()
    privacy: PrivacySettings = PrivacySettings()
    identity: IdentitySettings = IdentitySettings()
    traits: Mapping[str, TraitSettings] = {}
    indicators: Mapping[str, IndicatorSettings] = {}
    audiences: Mapping[str, AudienceSettings] = {}
    connectors: Mapping[str, ConnectorConfig] = {}
    targets: Mapping[str, TargetConfig] = {}
    plugins: Mapping[str, Mapping[str, Any]] = {}
    plugin_problems: Mapping[str, Sequence[str]] = {}
    files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    effective: Mapping[str, Any] = {}
