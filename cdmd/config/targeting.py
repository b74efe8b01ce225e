"""What the keys that every target has are to mean: name, globs, condition, fields, waits. Pure; see ``meaning``."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from cdmd.config.meaning import NAME, Found, condition_problems, globs
from cdmd.config.outbound import FIELD_ROOTS, TARGET_NAMES, TargetFrame

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
    if not frame.retry:
        yield (*key, "retry"), "needs at least one wait (`0s` for one attempt)"


def _field_problems(path: str) -> Iterator[str]:
    if _FIELD.fullmatch(path) is None:
        yield f"{path!r} is none of {', '.join(FIELD_ROOTS)}, or an entry of one of them (traits.email)"
