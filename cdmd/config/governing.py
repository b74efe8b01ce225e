"""``[privacy]`` as structs: what may be kept for how long, and by which events people say what may be done with their data."""

from typing import Annotated

import msgspec
from msgspec import Meta

from cdmd.kit.quantities import Duration


class RetentionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of ``[privacy] retention``."""

    events: Annotated[tuple[str, ...], Meta(description="Event types (globs).")]
    keep: Annotated[Duration, Meta(description="How long after they happened they are kept.")]


class PrivacySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[privacy]``."""

    retention: Annotated[
        tuple[RetentionSettings, ...],
        Meta(
            description='How long events are kept: `[{ events = ["page.*"], keep = "90d" }]`; the first entry that matches'
            " counts, other events stay. Indicators without a window keep what was counted."
        ),
    ] = ()
    idle_profiles: Annotated[
        Duration | None, Meta(description="A customer of whom nothing was heard for so long goes, with all that is kept.")
    ] = None
    grants: Annotated[
        tuple[str, ...], Meta(description="Event types (globs) by which the purposes in `data.purpose` are granted.")
    ] = ("consent.granted",)
    withdrawals: Annotated[
        tuple[str, ...], Meta(description="Event types (globs) by which the purposes in `data.purpose` are withdrawn.")
    ] = ("consent.withdrawn",)
    restrictions: Annotated[
        tuple[str, ...],
        Meta(description="Event types (globs) from which on the customer is in no audience and told to no target; kept as is."),
    ] = ("privacy.restricted",)
    lifts: Annotated[tuple[str, ...], Meta(description="Event types (globs) by which a restriction ends.")] = (
        "privacy.unrestricted",
    )
    requests_from: Annotated[
        tuple[str, ...],
        Meta(description="Connectors whose events may ask for erasure and access; those of others are only stored."),
    ] = ()
    erasure_requests: Annotated[
        tuple[str, ...], Meta(description="Event types (globs) by which the customer whom the event names first is erased.")
    ] = ("privacy.erasure_requested",)
    access_requests: Annotated[
        tuple[str, ...],
        Meta(description="Event types (globs) by which all that is kept is written to `exports/` in the state directory."),
    ] = ("privacy.access_requested",)
