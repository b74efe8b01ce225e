"""``[targets.NAME]`` and ``[deliveries]`` as structs: what every target has in common.

A target type's own keys are checked by its settings struct, as a connector's are. What the values mean: ``targeting``.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from cdmd.kit.quantities import Duration, Rate, Size

TARGET_NAMES: Final = ("event", "profile", "indicators", "now")
"""What the condition of a target may speak of."""

FIELD_ROOTS: Final = ("identifiers", "traits", "indicators", "audiences", "data")
"""What ``fields`` may choose among."""


def _d(text: str) -> Duration:
    return Duration.parse(text)


RETRY: Final = tuple(_d(text) for text in ("0s", "5s", "5m", "30m", "2h", "5h", "10h", "14h", "20h", "24h"))
"""The waits before each attempt that the Standard Webhooks suggest: ten attempts in three days."""


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the configuration: unknown keys are mistakes."""


class DeliverySettings(_Table, frozen=True, kw_only=True):
    """``[deliveries]``."""

    keep: Annotated[Duration, Meta(description="How long attempts, and deliveries that were set aside, are kept.")] = _d("7d")


class TargetFrame(_Table, frozen=True, kw_only=True):
    """``[targets.NAME]``: the keys that every target type has."""

    type: Annotated[str, Meta(description="The target type.")]
    use: Annotated[
        str | None, Meta(description="A predefined target (`cdmd library`) that this table is laid over; its keys win.")
    ] = None
    events: Annotated[
        tuple[str, ...],
        Meta(
            description=(
                "What is sent (globs): types of stored events, and `profile.created`, `profile.updated`, `profile.merged`, "
                "`profile.erased`, `audience.entered`, `audience.left`, `indicator.crossed`; and how other targets are, which "
                "`*` does not mean: `target.active`, `target.paused`, `target.failing`, `target.disabled`."
            )
        ),
    ] = ()
    where: Annotated[
        str | None, Meta(description="A CEL condition over `event`, `profile`, `indicators` and `now`; others are not sent.")
    ] = None
    fields: Annotated[
        tuple[str, ...] | None,
        Meta(
            description=(
                "What of the event and the profile is sent: `identifiers`, `traits`, `indicators`, `audiences`, `data`, or one "
                "entry of them (`traits.email`). Without it all of it. Ids, types and times are always sent."
            )
        ),
    ] = None
    required_purposes: Annotated[
        tuple[str, ...], Meta(description="Purposes that the customer must have granted; others are not sent.")
    ] = ()
    order: Annotated[
        Literal["none", "per_profile", "strict"],
        Meta(description="Whether one waits for the one before it: of the same customer, or at all."),
    ] = "none"
    concurrency: Annotated[int, Meta(description="How many may be on their way at once.", ge=1, le=100)] = 4
    rate: Annotated[Rate | None, Meta(description="How many may be sent at most.")] = None
    timeout: Annotated[Duration, Meta(description="How long one attempt may take.")] = _d("15s")
    retry: Annotated[
        tuple[Duration, ...], Meta(description="How long to wait before each attempt, the first one included; ± 20 %.")
    ] = RETRY
    enabled: Annotated[bool, Meta(description="Whether anything is sent; what there is to send waits otherwise.")] = True
    max_waiting: Annotated[int, Meta(description="How many deliveries may wait; beyond it newer ones are dropped.", ge=1)] = (
        1_000_000
    )
    max_bytes: Annotated[Size, Meta(description="How large what waits may be together.")] = Size.parse("1GiB")
    keep_bodies: Annotated[
        bool, Meta(description="Keep what was sent, and the beginning of the answer, with each attempt.")
    ] = False


TARGET_KEYS: Final = frozenset(TargetFrame.__struct_fields__)


class TargetConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One target, checked: its frame, its type's own settings struct (or ``Absent``), and the file it came from."""

    name: str
    frame: TargetFrame
    settings: Any
    file: str
