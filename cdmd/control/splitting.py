"""Undoing a merge: one profile becomes two people, who stay two. It shows and changes personal data, so only admins ask."""

from collections.abc import Mapping
from typing import Any

from cdmd.control import redaction
from cdmd.control.actors import Actor
from cdmd.control.auditing import audited
from cdmd.control.profile_shapes import SplitReport
from cdmd.control.runtime import Runtime
from cdmd.errors import BadArguments
from cdmd.identity.identifiers import Pair


async def split(runtime: Runtime, actor: Actor, first: str, second: str, *, apply: bool) -> SplitReport:
    """Split the profile that has both, each KIND:VALUE; without ``apply`` only say what would come of it.

    Raises ``BadArguments`` and ``NotFound``.
    """
    said = _said(runtime, first, second)
    async with audited(runtime, actor, "profile split" if apply else "profile split --dry-run", arguments=said):
        report = await runtime.split(*_pairs(runtime, first, second), apply=apply)
        said["profiles"] = [side.profile for side in report.sides if side.profile]
    return report


async def lift(runtime: Runtime, actor: Actor, first: str, second: str) -> SplitReport:
    """Let the two be joined again. Raises ``BadArguments`` and ``NotFound``."""
    async with audited(runtime, actor, "profile split --lift", arguments=_said(runtime, first, second)):
        return await runtime.lift(*_pairs(runtime, first, second))


def _said(runtime: Runtime, first: str, second: str) -> dict[str, Any]:
    kinds = [text.partition(":")[0] for text in (first, second)]
    return {"kinds": [kind if kind in runtime.config.identity.identifiers else redaction.REDACTED for kind in kinds]}


def _pairs(runtime: Runtime, first: str, second: str) -> tuple[Pair, Pair]:
    return _pair(runtime, first), _pair(runtime, second)


def _pair(runtime: Runtime, text: str) -> Pair:
    configured: Mapping[str, Any] = runtime.config.identity.identifiers
    kind, _, value = text.partition(":")
    if kind not in configured or not value:
        raise BadArguments(f"write KIND:VALUE twice, where KIND is one of {', '.join(configured)}")
    pair = runtime.kinds.normalise(kind, value)
    if pair is None:
        raise BadArguments(f"the {kind} identifies nobody: {runtime.kinds.unusable(kind, value)}")
    return pair
