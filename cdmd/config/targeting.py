"""What the keys that every target has are to mean: name, globs, condition, fields, waits. Pure; see ``meaning``."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from cdmd.config.checking import nearest
from cdmd.config.meaning import NAME, Found, condition_problems, globs
from cdmd.config.news import NEWS
from cdmd.config.outbound import FIELD_ROOTS, TARGET_NAMES, TargetConfig, TargetFrame
from cdmd.config.schema import Absent

_FAMILIES: Final = tuple({name.partition(".")[0] + "." for name in NEWS})
_FIELD: Final = re.compile(rf"(?:(?:event|profile)\.)?(?:{'|'.join(FIELD_ROOTS)})(?:\..+)?")


def target(name: str, frame: TargetFrame, among: Iterable[str]) -> Found:
    """What every target has: its name, globs, condition and fields, where the indicators ``among`` are configured."""
    key = ("targets", name)
    if NAME.fullmatch(name) is None:
        yield key, "a target's name has letters, digits, _ and - only"
    if frame.events:
        yield from globs((*key, "events"), frame.events)
    if frame.where is not None:
        for problem in condition_problems(frame.where, among, names=TARGET_NAMES):
            yield (*key, "where"), problem
    for place, path in enumerate(frame.fields or ()):
        for problem in _field_problems(path):
            yield (*key, "fields", str(place)), problem
    if not frame.timeout.seconds:
        yield (*key, "timeout"), "is no time to send anything in"
    if not frame.retry:
        yield (*key, "retry"), "needs at least one wait (`0s` for one attempt)"


def misnamed(targets: Mapping[str, TargetConfig]) -> Found:
    """Events that are called much like news of ours. A connector may bring events of any name, so this is to be warned of."""
    for name, one in targets.items():
        for place, glob in enumerate(one.frame.events):
            if "*" not in glob and glob not in NEWS and glob.startswith(_FAMILIES):
                what = f"{glob!r} is sent only if a connector brings events of that type{nearest(glob, NEWS)}"
                yield ("targets", name, "events", str(place)), what


def addressed(targets: Mapping[str, TargetConfig], audiences: Collection[str]) -> Found:
    """That each target has something to send: an audience that there is, or events."""
    for name, one in targets.items():
        if one.settings is None or isinstance(one.settings, Absent):
            continue
        key, audience = ("targets", name), getattr(one.settings, "audience", None)
        if not isinstance(audience, str):  # a plugin may mean something else by it
            if not one.frame.events:
                yield (*key, "events"), "is missing: nothing would ever be sent"
            continue
        if audience not in audiences:
            yield (*key, "audience"), f"there is no audience {audience!r}{nearest(audience, audiences)}"
        for other in ("events", "where"):
            if getattr(one.frame, other):
                yield (*key, other), "has no meaning beside an audience, whose members are written"


def _field_problems(path: str) -> Iterator[str]:
    if _FIELD.fullmatch(path) is None:
        yield f"{path!r} is none of {', '.join(FIELD_ROOTS)}, or an entry of one of them (traits.email)"
