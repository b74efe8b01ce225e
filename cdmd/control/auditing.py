"""Every change and every sight of personal data leaves a row that says who, what and with which outcome, refused ones too.

Arguments in these rows never hold personal data: an identifier appears as its kind, a person as the public profile id.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio

from cdmd.contracts import Audit
from cdmd.control.actors import Actor, Role, permit
from cdmd.control.runtime import Runtime
from cdmd.errors import CdmdError, NotPermitted
from cdmd.models import to_micros

_LONGEST: Final = 200
"""The most characters of one argument that a row keeps."""


@asynccontextmanager
async def audited(
    runtime: Runtime, actor: Actor, command: str, *, arguments: dict[str, Any], role: Role = Role.ADMIN
) -> AsyncIterator[None]:
    """Permit the actor and keep a row about the block, however it ends.

    ``arguments`` may be completed inside the block. What the block found must leave the daemon only after it, so that nothing
    is shown when the row cannot be kept. Raises ``NotPermitted``.
    """
    outcome = "failed"
    try:
        permit(actor, role)
        yield
        outcome = "done"
    except NotPermitted:
        outcome = "refused"
        raise
    except CdmdError as error:
        outcome = f"failed: {type(error).__name__}"
        raise
    finally:
        with anyio.CancelScope(shield=True):
            await runtime.store.audit(_row(runtime, actor, command, arguments, outcome))


def _row(runtime: Runtime, actor: Actor, command: str, arguments: Mapping[str, Any], outcome: str) -> Audit:
    said = {key: value[:_LONGEST] if isinstance(value, str) else value for key, value in arguments.items() if value is not None}
    return Audit(
        time=to_micros(runtime.clock.now()),
        uid=actor.uid,
        user=actor.user,
        role=actor.role.value,
        command=command,
        arguments=json.dumps(said, ensure_ascii=False),
        outcome=outcome,
    )
