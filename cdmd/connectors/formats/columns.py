"""Named columns: which header name is which column, what counts as no value, and texts that are numbers or dates.

Shared by the formats that have columns (csv, fixed, xlsx). Pure.
"""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from cdmd.errors import ConfigInvalid, FormatFault
from cdmd.models import Fault

_PART: Final = re.compile(r"%(.)")
_TIME_PARTS: Final = frozenset("HIMSfpcXzZ")
_LEAST: Final = -(2**63)
_GREATEST: Final = 2**64 - 1
_BLANKS: Final = str.maketrans("", "", " \u00a0\u202f'\u2019")


class ColumnSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every format with columns has."""

    aliases: Annotated[
        dict[str, tuple[str, ...]], Meta(description="Other header names of a column; they compare without case.")
    ] = {}
    required: Annotated[tuple[str, ...], Meta(description="Columns without which the whole file is refused.")] = ()
    nulls: Annotated[tuple[str, ...], Meta(description="Texts that stand for no value.")] = ("",)
    trim: Annotated[bool, Meta(description="Take blanks off both ends of every value.")] = False
    numbers: Annotated[tuple[str, ...], Meta(description="Columns that are read as numbers.")] = ()
    decimal: Annotated[str, Meta(description="The decimal sign of `numbers`; the other one and blanks group digits.")] = "."
    dates: Annotated[
        dict[str, str],
        Meta(description="Columns with dates (they stay dates) or times (without zone: UTC), each with its form (`%d.%m.%Y`)."),
    ] = {}


class Columns:
    """Makes a record's value out of its texts. Raises ``ConfigInvalid`` for what contradicts itself."""

    def __init__(self, settings: ColumnSettings) -> None:
        self._aliases = _aliases(settings.aliases)
        self._required = settings.required
        self._nulls = settings.nulls
        self._trim = settings.trim
        if settings.decimal not in {".", ","}:
            raise ConfigInvalid([f"format.decimal: {settings.decimal!r} is neither . nor ,"])
        self._numbers = settings.numbers
        self._decimal, self._group = settings.decimal, "," if settings.decimal == "." else "."
        self._dates = [(name, form, _has_time(form)) for name, form in settings.dates.items()]
        self._typed = bool(settings.numbers or settings.dates)

    def named(self, header: Sequence[str]) -> list[str]:
        """The columns' names for a header as it stands in the file.

        Raises ``FormatFault`` where a name comes twice or a required column is missing.
        """
        names = [self._aliases.get(name.strip().casefold(), name.strip()) for name in header]
        while names and not names[-1]:
            names.pop()
        twice = sorted({name for name in names if name and names.count(name) > 1})
        if twice:
            raise FormatFault("duplicate_columns", f"the header names {_listed(twice)} twice; name the columns with `columns`")
        missing = [name for name in self._required if name not in names]
        if missing:
            raise FormatFault(
                "missing_columns", f"the header lacks {_listed(missing)}; it has {_listed([n for n in names if n])}"
            )
        return names

    def value(self, names: Sequence[str], texts: Sequence[Any]) -> dict[str, Any] | Fault:
        """The record's value: named texts, None for no value, numbers and times where they are said to be; or its fault."""
        if self._trim:
            texts = [text.strip() if isinstance(text, str) else text for text in texts]
        for null in self._nulls:
            if null in texts:
                texts = [None if text == null else text for text in texts]
        if len(texts) != len(names):
            if len(texts) < len(names) or any(text is not None for text in texts[len(names) :]):
                return Fault("ragged_row", f"the record has {len(texts)} fields, the header {len(names)}")
            texts = texts[: len(names)]
        value = dict(zip(names, texts, strict=False))  # as many as was seen above; to be told so costs a quarter more
        value.pop("", None)
        return self._convert(value) if self._typed else value

    def judge(self, names: Sequence[str], texts: Sequence[Any]) -> dict[str, Any] | Fault:
        """The record's fault, or anything."""
        return {} if len(texts) == len(names) and not self._typed else self.value(names, texts)

    def _convert(self, value: dict[str, Any]) -> dict[str, Any] | Fault:
        for name in self._numbers:
            if isinstance(text := value.get(name), str):
                try:
                    value[name] = self._number(text)
                except OverflowError:
                    return Fault("number_out_of_range", f"the column {name} does not fit into 64 bits", path=name, kind="text")
                except ValueError:
                    return Fault("not_a_number", f"the column {name} is no number", path=name, kind="text")
        for name, form, timed in self._dates:
            if isinstance(text := value.get(name), str):
                try:
                    value[name] = _time(text, form, timed=timed)
                except ValueError:
                    return Fault("not_a_date", f"the column {name} is no date of the form {form}", path=name, kind="text")
        return value

    def _number(self, text: str) -> int | float:
        plain = text.translate(_BLANKS).replace(self._group, "").replace(self._decimal, ".")
        if not plain.isascii() or not plain.strip("+-0123456789.eE") == "":
            raise ValueError(plain)
        number = int(plain) if plain.lstrip("+-").isdigit() else float(plain)
        if not math.isfinite(number):
            raise ValueError(plain)
        if isinstance(number, int) and not _LEAST <= number <= _GREATEST:
            raise OverflowError
        return number


def _aliases(settings: Mapping[str, Sequence[str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for column, others in settings.items():
        for name in (column, *others):
            owner = found.setdefault(name.strip().casefold(), column)
            if owner != column:
                raise ConfigInvalid([f"format.aliases.{column}: {name!r} is already a name of {owner}"])
    return found


def _has_time(form: str) -> bool:
    """Whether what is of that form says more than a day."""
    return not _TIME_PARTS.isdisjoint(_PART.findall(form))


def _time(text: str, form: str, *, timed: bool) -> str:
    moment = datetime.strptime(text.strip(), form)  # noqa: DTZ007 - the form may have no zone; then it is UTC
    if not timed:
        return moment.date().isoformat()
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown  # noqa: PLR2004 - a sentence's length
