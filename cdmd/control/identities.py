"""Who is who over the whole history: what rules would change, and carrying it out in the background.

Readers see figures; ids and identifiers of people are the admins'.
"""

import tomllib
from typing import Any

import msgspec

from cdmd.config import meaning
from cdmd.config.reading import show
from cdmd.config.schema import IdentitySettings
from cdmd.control import redaction
from cdmd.control.actors import Actor, Role, permit
from cdmd.control.auditing import audited
from cdmd.control.profile_shapes import IdentityJob, RegroupedRow
from cdmd.control.runtime import Runtime
from cdmd.errors import BadArguments, ConfigInvalid
from cdmd.identity.identifiers import Kinds
from cdmd.identity.keeping_apart import Splits


async def attempt(runtime: Runtime, actor: Actor, rules: str | None) -> IdentityJob:
    """Begin to find out what ``rules`` (TOML; those configured where nothing is said) would change. Raises ``BadArguments``."""
    said: dict[str, Any] = {"rules": "as configured" if rules is None else "of a file"}
    async with audited(runtime, actor, "identity try", arguments=said):
        await runtime.identities.attempt(None if rules is None else _kinds(rules, runtime.kinds.splits))
        return runtime.identities.now()


async def rebuild(runtime: Runtime, actor: Actor) -> IdentityJob:
    """Begin to make all profiles what the configured rules come to. Raises ``BadArguments``."""
    async with audited(runtime, actor, "identity rebuild", arguments={}):
        await runtime.identities.rebuild()
        return runtime.identities.now()


async def job(runtime: Runtime, actor: Actor) -> IdentityJob:
    """How far it is, and what it came to."""
    permit(actor, Role.READER)
    found = runtime.identities.now()
    if actor.role is Role.ADMIN or found.report is None:
        return found
    report = found.report
    joins, splits = ([_redacted(row) for row in rows] for rows in (report.largest_joins, report.largest_splits))
    return msgspec.structs.replace(found, report=msgspec.structs.replace(report, largest_joins=joins, largest_splits=splits))


def _redacted(row: RegroupedRow) -> RegroupedRow:
    identifiers = [[{"kind": one["kind"], "value": redaction.REDACTED} for one in each] for each in row.identifiers]
    return msgspec.structs.replace(row, identifiers=identifiers)


def _kinds(text: str, splits: Splits) -> Kinds:
    """The kinds of ``[identity.identifiers]`` in a configuration, or in a file that has only ``[identifiers]``."""
    try:
        table = tomllib.loads(text)
        table = table.get("identity", table)
        if not isinstance(table, dict) or "identifiers" not in table:
            raise BadArguments("the rules name no kinds: write [identity.identifiers] as in the configuration")
        settings = msgspec.convert({"identifiers": table["identifiers"]}, IdentitySettings)
    except tomllib.TOMLDecodeError as error:
        raise BadArguments(f"the rules are no TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise BadArguments(
            f"the rules cannot be read: {error}; write [identity.identifiers] as in the configuration"
        ) from error
    problems = [f"{show(key)}: {what}" for key, what in meaning.identity(settings)]
    try:
        kinds = Kinds(settings, splits)
    except ConfigInvalid as error:
        problems += [problem for problem in error.problems if problem not in problems]
    else:
        if not problems:
            return kinds
    raise BadArguments(f"the rules cannot be: {'; '.join(problems)}")
