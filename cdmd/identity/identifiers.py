"""Which identifiers of an event may join people: configured kinds, in one form, not blocked, strongest first.

Not for: whose they are (``cdmd.identity.resolution``). An identifier that is not usable stays on its event.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from cdmd.config.schema import IdentifierSettings, IdentitySettings
from cdmd.errors import ConfigInvalid
from cdmd.kit.normalising import Form, normalise
from cdmd.models import Micros

LONGEST: Final = 1000
"""The most characters of a usable identifier: a longer text is not one, and would make every index row as large."""

_DAY: Final = 86_400_000_000
_PERIODS: Final[Mapping[str, int | None]] = {"ever": None, "week": 7 * _DAY, "month": 30 * _DAY, "year": 365 * _DAY}
_FORMS: Final[Mapping[str, Form]] = {"email": "email", "phone": "phone"}

# What needs no more than lower case, as nearly every address does: it saves a third of what an event's identifiers cost.
_PLAIN_EMAIL: Final = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+").fullmatch


class Limit(NamedTuple):
    """How many values of a kind one profile may have, first seen within ``period`` microseconds (None: ever)."""

    values: int
    period: int | None

    def counts(self, first_seen: int, at: Micros) -> bool:
        """Whether a value first seen then uses up the limit for an event at ``at``, before or after it."""
        return self.period is None or abs(first_seen - at) < self.period


class _Rule(NamedTuple):
    form: Form
    region: str | None
    blocked: tuple[Callable[[str], re.Match[str] | None], ...]


class Kinds:
    """The configured kinds. Raises ConfigInvalid for a ``blocked`` entry that is no regular expression."""

    def __init__(self, settings: IdentitySettings) -> None:
        ranked = sorted(settings.identifiers.items(), key=lambda item: (item[1].priority, item[0]))
        self._rules = {kind: _rule(kind, entry) for kind, entry in ranked}
        self.limits: Mapping[str, Limit] = {kind: Limit(entry.limit, _PERIODS[entry.per]) for kind, entry in ranked}

    def usable(self, identifiers: Mapping[str, str]) -> list[tuple[str, str]]:
        """The (kind, normalised value) pairs that may join people, strongest priority first, ties by name."""
        found = []
        for kind, rule in self._rules.items():
            if kind in identifiers:
                value = _usable(rule, identifiers[kind])
                if value is not None:
                    found.append((kind, value))
        return found

    def normalise(self, kind: str, value: str) -> tuple[str, str] | None:
        """The pair to look up for what somebody typed, or None where no profile can own it."""
        rule = self._rules.get(kind)
        usable = None if rule is None else _usable(rule, value)
        return None if usable is None else (kind, usable)


def _rule(kind: str, entry: IdentifierSettings) -> _Rule:
    form = entry.normalize or _FORMS.get(kind, "trim")
    return _Rule(form, entry.region, tuple(_compiled(kind, pattern).fullmatch for pattern in _joined(entry.blocked)))


def _joined(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The plain patterns as one alternative (one match, not six); the others, whose meaning could change, alone."""
    plain = [pattern for pattern in patterns if not set(pattern) & set("(\\")]
    rest = [pattern for pattern in patterns if pattern not in plain]
    return ("|".join(plain), *rest) if plain else tuple(rest)


def _compiled(kind: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise ConfigInvalid([f"identity.identifiers.{kind}.blocked: {pattern!r} is no regular expression: {error}"]) from error


def _usable(rule: _Rule, text: str) -> str | None:
    form, region, blocked = rule
    if len(text) > LONGEST:
        return None
    value = text.lower() if form == "email" and _PLAIN_EMAIL(text) else normalise(form, text, region=region)
    if value is None:
        return None
    for matches in blocked:
        # A phone's form is another text, so it is blocked as it came, too; the other forms differ in case and blanks only.
        if matches(value) or (form == "phone" and matches(text.strip())):
            return None
    return value
