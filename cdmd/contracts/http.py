"""Asking other systems: the guarded client, its answers, and the budget of requests to one host with one credential."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

from cdmd.kit.grants import Claim


class HttpAnswer(Protocol):
    """What a guarded HTTP request brings back (``httpx.Response`` fulfils it)."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The answer's headers; names compare without case."""
        ...

    @property
    def content(self) -> bytes:
        """The decoded body, bounded by the client's limit."""
        ...

    @property
    def text(self) -> str:
        """The body as text."""
        ...

    def json(self) -> Any:
        """The body decoded as JSON; raises ValueError when it is not JSON."""
        ...

    def raise_for_status(self) -> Any:
        """Raise when the status is 4xx or 5xx."""
        ...


class Http(Protocol):
    """A guarded HTTP client: it reaches only hosts that the configuration names, bounded in time and size.

    Raises ``cdmd.errors.AddressRefused`` before connecting anywhere else. Redirects are not followed.
    """

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        content: bytes | None = None,
        timeout: float | None = None,
    ) -> HttpAnswer:
        """Send one request; ``timeout`` in seconds bounds all of it."""
        ...

    async def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> HttpAnswer:
        """``request("GET", ...)``."""
        ...

    async def post(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        content: bytes | None = None,
        timeout: float | None = None,
    ) -> HttpAnswer:
        """``request("POST", ...)``."""
        ...


HttpAnswerT = TypeVar("HttpAnswerT", bound=HttpAnswer)


class Turn(Protocol):
    """A place in a host's budget, for one request."""

    async def send(self, call: Callable[[], Awaitable[HttpAnswerT]], *, free: Collection[int] = ()) -> HttpAnswerT:
        """Make the request: what ``call`` gives, or raises. The budget learns from its status and headers.

        Answers of the statuses ``free`` do not count: the source says so.
        """
        ...


class Budget(Protocol):
    """The requests that one host allows one credential: shared by every connector, stream, page and fetch."""

    def turn(self, asker: str, *, priority: int) -> AbstractAsyncContextManager[Turn]:
        """Wait for a place and hold it. One that sends nothing costs nothing.

        Askers of one priority take turns; a smaller ``priority`` comes first (``kit.shared_budget.NOTIFIED``, ``SCHEDULED``).
        """
        ...

    def plan(self, asker: str, claim: Claim) -> float:
        """How many looks per second ``asker`` may plan with, beside all others that plan and those that do not."""
        ...

    def next_at(self) -> tuple[float | None, str]:
        """Monotonic seconds of the next place (None: once an answer came), and why it has to wait, in words for ``status``."""
        ...


# ---- connectors ----------------------------------------------------------------------------------------------------
