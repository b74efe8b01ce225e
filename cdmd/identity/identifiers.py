"""Which identifiers of an event may join people: configured kinds, in one form, not blocked, strongest first.

Where suppliers deliver digests instead of values (``hashed``), a plain value also stands for its digests, so that either finds
the other. Not for: whose they are (``cdmd.identity.resolution``). An identifier that is not usable stays on its event.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from hashlib import sha256
from typing import Final, NamedTuple

from cdmd.config.schema import IdentifierSettings, IdentitySettings
from cdmd.errors import ConfigInvalid
from cdmd.identity.keeping_apart import Splits
from cdmd.kit.normalising import Form, normalise
from cdmd.models import IdentifierState, Micros, ProfileState

LONGEST: Final = 1000
"""The most characters of a usable identifier: a longer text is not one, and would make every index row as large."""

SHARED: Final = frozenset({"anonymous_id"})
"""Kinds whose values are a device's, not a person's, unless the configuration says otherwise."""

_DAY: Final = 86_400_000_000
_PERIODS: Final[Mapping[str, int | None]] = {"ever": None, "week": 7 * _DAY, "month": 30 * _DAY, "year": 365 * _DAY}
_FORMS: Final[Mapping[str, Form]] = {"email": "email", "phone": "phone"}
_OF_DIGESTS: Final = "_sha256"

Pair = tuple[str, str]

# What needs no more than lower case, as nearly every address does: it saves a third of what an event's identifiers cost.
_PLAIN_EMAIL: Final = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+").fullmatch

# Nor is there anything to do about what is printable, ASCII and without blanks where only blanks are taken away.
_AS_IT_IS: Final = re.compile(r"[!-~]+").fullmatch


class Limit(NamedTuple):
    """How many values of a kind one profile may have, first seen within ``period`` microseconds (None: ever)."""

    values: int
    period: int | None

    def counts(self, first_seen: int, at: Micros) -> bool:
        """Whether a value first seen then uses up the limit for an event at ``at``, before or after it."""
        return self.period is None or abs(first_seen - at) < self.period


class Forms(NamedTuple):
    """What an event can be found by, strongest first; ``derived`` are the digests among it that did not arrive themselves."""

    pairs: Sequence[Pair]
    derived: AbstractSet[Pair] = frozenset()


class _Rule(NamedTuple):
    form: Form
    region: str | None
    blocked: tuple[Callable[[str], re.Match[str] | None], ...]


class Kinds:
    """The configured kinds. Raises ConfigInvalid for a ``blocked`` or ``hashed`` entry that cannot be.

    ``hashed`` names each kind of digests with the plain kind that they are of. ``splits`` are the digests by which profiles say
    whom they are kept apart from, whatever is configured.
    """

    def __init__(self, settings: IdentitySettings, splits: Splits = Splits()) -> None:  # noqa: B008 - nothing changes it
        self.splits = splits
        ranked = sorted(settings.identifiers.items(), key=lambda item: (item[1].priority, item[0]))
        self.hashed: Mapping[str, str] = _hashed(settings.identifiers)
        self._rules = {kind: _rule(kind, entry) for kind, entry in ranked}
        self._digests = {plain: [kind for kind in self.hashed if self.hashed[kind] == plain] for plain in self.hashed.values()}
        self._aliases = {
            kind: (rule.form, [*self._digests.get(kind, ()), f"{self.hashed.get(kind, kind)} sha256"])
            for kind, rule in self._rules.items()
        }
        self.shared: AbstractSet[str] = {kind for kind, entry in ranked if _is_shared(kind, entry)}
        self.limits: Mapping[str, Limit] = {kind: Limit(entry.limit, _PERIODS[entry.per]) for kind, entry in ranked}

    @property
    def names(self) -> Sequence[str]:
        """The kinds that join people, the strongest first."""
        return tuple(self._rules)

    @property
    def rewritten(self) -> frozenset[str]:
        """The kinds whose one form need not stand in what arrived, be it in another case: phone numbers, digests."""
        return frozenset(kind for kind, rule in self._rules.items() if rule.form in {"phone", "sha256"})

    def forms(self, identifiers: Mapping[str, str]) -> Forms:
        """The usable pairs, each followed by its digests where there are kinds of digests."""
        pairs = self.usable(identifiers)
        if not self._digests:
            return Forms(pairs)
        found = {pair: None for one in pairs for pair in (one, *self.digests(one))}
        return Forms(list(found), found.keys() - set(pairs))

    def digests(self, pair: Pair) -> list[Pair]:
        """The digests that suppliers may deliver instead of this value. A phone number's also without its plus sign."""
        kinds = self._digests.get(pair[0], ())
        return [(kind, digest) for kind in kinds for digest in _sha256(pair[1], self._rules[pair[0]].form)] if kinds else []

    def aliases(self, pair: Pair) -> list[Pair]:
        """By what else the identifier is listed: ``digests``, and the same under a name that only its plain kind has a part in.

        So what was a person's is known by whichever kind of digests is configured later, under whatever name.
        """
        kind, value = pair
        form, named = self._aliases.get(kind) or (None, [f"{kind} sha256"])
        if form == "sha256":
            return [(one, value) for one in named]
        return [(one, digest) for digest in _sha256(value, form) for one in named]

    def underived(self, state: ProfileState) -> list[IdentifierState]:
        """The digests of the profile's identifiers that it lacks."""
        had = {(one.kind, one.value) for one in state.identifiers}
        return [
            IdentifierState(kind, value, one.first_seen, one.last_seen, one.source, derived=True)
            for one in state.identifiers
            for kind, value in self.digests((one.kind, one.value))
            if (kind, value) not in had
        ]

    def usable(self, identifiers: Mapping[str, str]) -> list[Pair]:
        """The (kind, normalised value) pairs that may join people, strongest priority first, ties by name."""
        found = []
        for kind, rule in self._rules.items():
            if kind in identifiers:
                value = _usable(rule, identifiers[kind])
                if value is not None:
                    found.append((kind, value))
        return found

    def left_out(self, identifiers: Mapping[str, str], forms: Forms) -> int:
        """How many identifiers of configured kinds are none of the ``forms`` that were made of them."""
        usable = len(forms.pairs) - len(forms.derived)
        return 0 if len(identifiers) == usable else sum([kind in self._rules for kind in identifiers]) - usable

    def normalise(self, kind: str, value: str) -> Pair | None:
        """The pair to look up for what somebody typed, or None where no profile can own it."""
        rule = self._rules.get(kind)
        usable = None if rule is None else _usable(rule, value)
        return None if usable is None else (kind, usable)

    def beginning(self, kind: str, text: str) -> str:
        """How normalised values begin that are written beginning with ``text``, of a configured kind."""
        return text.strip().lower() if self._rules[kind].form in {"lower", "email", "sha256"} else text.strip()

    def unusable(self, kind: str, value: str) -> str:
        """Why no profile can own this value, in words that hold nothing of it. For one that ``normalise`` has no pair for."""
        rule = self._rules.get(kind)
        if rule is None:
            return "the kind is not configured"
        if len(value) > LONGEST:
            return f"it is longer than {LONGEST} characters"
        if normalise(rule.form, value, region=rule.region) is None:
            return "it cannot be read as one" if rule.form in {"email", "phone", "sha256"} else "there is nothing in it"
        return "its value is blocked"


def _sha256(value: str, form: Form | None) -> list[str]:
    digest = sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
    return [digest, sha256(value.removeprefix("+").encode()).hexdigest()] if form == "phone" else [digest]


def _is_shared(kind: str, entry: IdentifierSettings) -> bool:
    return kind in SHARED if entry.shared is None else entry.shared


def _hashed(entries: Mapping[str, IdentifierSettings]) -> dict[str, str]:
    """Each kind of digests with its plain kind, as it says itself or as it is named."""
    said = {kind: entry.hashed for kind, entry in entries.items() if entry.hashed is not None}
    problems = [
        f"identity.identifiers.{kind}.hashed: {plain!r} is no plain kind that is configured"
        for kind, plain in said.items()
        if plain not in entries or plain in said
    ]
    if problems:
        raise ConfigInvalid(problems)
    named = {kind: kind.removesuffix(_OF_DIGESTS) for kind, entry in entries.items() if _is_named(kind, entry)}
    return said | {kind: plain for kind, plain in named.items() if plain in entries and plain not in said}


def _is_named(kind: str, entry: IdentifierSettings) -> bool:
    return kind.endswith(_OF_DIGESTS) and entry.normalize is None and entry.hashed is None


def _rule(kind: str, entry: IdentifierSettings) -> _Rule:
    digests = entry.hashed is not None or _is_named(kind, entry)
    form: Form = "sha256" if digests else entry.normalize or _FORMS.get(kind, "trim")
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
    if form == "trim" and _AS_IT_IS(text):
        value: str | None = text
    else:
        value = text.lower() if form == "email" and _PLAIN_EMAIL(text) else normalise(form, text, region=region)
    if value is None:
        return None
    for matches in blocked:
        # A phone's form is another text, so it is blocked as it came, too; the other forms differ in case and blanks only.
        if matches(value) or (form == "phone" and matches(text.strip())):
            return None
    return value
