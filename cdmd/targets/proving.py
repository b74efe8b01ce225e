"""How a target proves who it is with each request: signed by its ``auth``, and once again where a token had run out."""

import random
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Protocol, TypeVar

from cdmd.contracts import Outlet
from cdmd.kit.credentials import Auth, Authorizer, LoginAuth, OAuth2RefreshAuth, Signed, mistakes
from cdmd.kit.tokens import TokenState, authorizer


class Answered(Protocol):
    """What is used of an answer."""

    @property
    def status_code(self) -> int:
        """Its status."""
        ...


AnsweredT = TypeVar("AnsweredT", bound=Answered)


class Proving:
    """By one table ``auth``."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._authorizer: Authorizer | None = None

    async def ask(self, outlet: Outlet, send: Callable[[Signed], Awaitable[AnsweredT]]) -> AnsweredT:
        """What ``send`` is answered. Raises as ``send`` does, and ``CredentialRefused``."""
        proving = self._by(outlet)
        answer = await send(signed := await proving.sign())
        if answer.status_code == HTTPStatus.UNAUTHORIZED and await proving.refused(signed):
            answer = await send(signed := await proving.sign())
        if answer.status_code != HTTPStatus.UNAUTHORIZED:
            proving.accepted(signed)
        return answer

    def _by(self, outlet: Outlet) -> Authorizer:
        if self._authorizer is None:
            self._authorizer = authorizer(
                self._auth,
                post=outlet.http.post,
                clock=outlet.clock,
                state=TokenState(_nothing, _unsaved),
                chance=random.random,
            )
        return self._authorizer


def auth_problems(auth: Auth) -> list[str]:
    """Mistakes in the table, as ``auth.key: what is wrong``; a target keeps no token that is exchanged for the next."""
    found = [f"auth.{problem}" for problem in mistakes(auth)]
    if isinstance(auth, OAuth2RefreshAuth | LoginAuth):
        found.append("auth.type: a target takes none, api_key, bearer, basic or oauth2_client")
    return found


async def _nothing() -> None:
    """There is no exchanged token: client credentials have none."""


async def _unsaved(_value: bytes) -> None:
    """Nothing is kept."""
