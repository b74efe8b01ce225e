"""The demo's CRM: an API that has to be asked, page by page, and that refuses whoever asks more than five times a second.

The connector is declared in TOML alone: where the records are, how pages follow each other, what grows. Of its contacts only
those who are known already concern us.
"""

import hmac
import secrets
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from typing_extensions import override

from cdmd.cli.demo.part import CUSTOMER, EMAIL, Expected, Part, Stage, secret_file
from cdmd.cli.demo.serving import JsonServer
from cdmd.cli.demo.telling import took
from cdmd.errors import CdmdError

CONTACTS: Final = 60
LIMIT: Final = 5
_PAGE: Final = 20
_SECONDS: Final = 10.0
_PAUSE: Final = 0.05
_DAY: Final = "2026-11-{day:02d}T12:{minute:02d}:00Z"

_CONFIG: Final = """
[connectors.crm]
type = "rest"
base_url = "{url}/v3"
auth = {{ type = "bearer", token = "file:crm.token" }}
limits = "5/1s"
known_only = true
[connectors.crm.streams.contacts]
path = "/contacts"
records = "{{results[*]}}"
every = "1h"
page = {{ type = "cursor", from = "{{next}}", param = "after" }}
since = {{ field = "{{updated_at}}", param = "updated_since", order = "asc" }}
[connectors.crm.streams.contacts.event]
id = "{{id}}:{{updated_at}}"
type = "crm.contact"
time = "{{updated_at}}"
identifiers = {{ customer_no = "{{number}}", email = "{{email}}" }}
traits = {{ advisor = "{{advisor}}" }}
"""


class Crm(Part):
    """Sixty contacts, of whom one is Joe; ``refused`` counts requests that came too soon."""

    def __init__(self) -> None:
        self._token = secrets.token_urlsafe(24)
        self.api = JsonServer(self.respond)
        self.contacts: list[dict[str, str]] = []
        self.refused = 0
        self._arrivals: deque[float] = deque()
        self._counting = threading.Lock()

    @override
    @contextmanager
    def opened(self, folder: Path) -> Iterator[str]:
        secret_file(folder, "crm.token", self._token)
        with self.api:
            yield _CONFIG.format(url=self.api.url)

    @property
    @override
    def facts(self) -> Mapping[str, str]:
        return {"CRM": f"{self.api.url}, {CONTACTS} contacts in pages of {_PAGE}; a sixth request within a second is refused"}

    @override
    def play(self, stage: Stage) -> None:
        stage.telling.scene("The CRM: it never calls, so it is asked, no more often than it allows (declared in TOML)")
        begun = monotonic()
        self.contacts = [contact(place, _DAY.format(day=1, minute=place)) for place in range(CONTACTS)]
        asked = self._looked(stage, "Anna")
        stage.telling.fact("first look", f"{asked} requests for {CONTACTS} contacts, {took(monotonic() - begun)}; one is ours")
        self.contacts.append(contact(CONTACTS // 2, _DAY.format(day=2, minute=0), advisor="Bo"))
        asked = self._looked(stage, "Bo")
        stage.telling.fact("Joe changes", f"{asked} request for what is new since then; Joe's advisor is Bo now")
        stage.telling.fact("too soon", f"{self.refused} of {self.api.asked} requests were refused")
        stage.telling.known("known now", stage.customer())

    @property
    @override
    def expected(self) -> Expected:
        return Expected(2, frozenset({("customer_no", CUSTOMER), ("email", EMAIL)}))

    @override
    def lacking(self, customer: Any, status: Any) -> list[str]:
        """The last advisor, and the limit kept."""
        found = [] if customer["traits"].get("advisor") == "Bo" else ["the CRM's last change is not known"]
        return [*found, f"the CRM refused {self.refused} requests: its limit was not kept"] if self.refused else found

    def respond(self, path: str, headers: Mapping[str, str]) -> tuple[int, Any]:
        """A page of contacts in the order of their changes, to who has the token and does not ask too often."""
        if self._too_soon(monotonic()):
            return 429, {"error": "five requests a second"}
        if not hmac.compare_digest(headers.get("authorization", ""), f"Bearer {self._token}"):
            return 401, {"error": "the token is missing or wrong"}
        query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        found = [one for one in self.contacts if one["updated_at"] >= query.get("updated_since", "")]
        start = int(query.get("after", "0"))
        following = start + _PAGE
        return 200, {"results": found[start:following], "next": str(following) if following < len(found) else None}

    def _too_soon(self, now: float) -> bool:
        with self._counting:
            while self._arrivals and now - self._arrivals[0] >= 1.0:
                self._arrivals.popleft()
            self._arrivals.append(now)
            refused = len(self._arrivals) > LIMIT
            self.refused += refused
            return refused

    def _looked(self, stage: Stage, advisor: str) -> int:
        """Look until Joe's advisor is known; how many requests that took."""
        before, until, pause = self.api.asked, monotonic() + _SECONDS, threading.Event()
        stage.poll("crm")
        while ((stage.customer() or {}).get("traits") or {}).get("advisor") != advisor:
            if monotonic() > until:
                raise CdmdError(f"the CRM was not read within {_SECONDS:g} seconds")
            pause.wait(_PAUSE)
        stage.settle()
        return self.api.asked - before


def contact(place: int, updated: str, *, advisor: str = "Anna") -> dict[str, str]:
    """One contact; the one in the middle is Joe."""
    joe = place == CONTACTS // 2
    number, email = (CUSTOMER, EMAIL) if joe else (str(90_000 + place), f"contact{place}@example.com")
    return {"id": f"c{place}", "number": number, "email": email, "advisor": advisor, "updated_at": updated}
