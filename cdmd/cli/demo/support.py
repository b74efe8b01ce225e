"""The demo's support desk: Joe asks for help; a fat webhook, signed as GitHub signs (``X-Hub-Signature-256``, the raw body)."""

import hmac
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from typing_extensions import override

from cdmd.cli.demo.part import EMAIL, Delivery, Expected, Sender, Stage, secret_file

_CONFIG: Final = """
[connectors.support]
type = "webhook"
verify = "github"
secrets = ["file:support.secret"]
[connectors.support.event]
identifiers = { email = "{sender.email}" }
data = { title = "{issue.title}" }
"""


class Support(Sender):
    """One complaint."""

    def __init__(self) -> None:
        self._key = secrets.token_hex(16)

    @override
    @contextmanager
    def opened(self, folder: Path) -> Iterator[str]:
        secret_file(folder, "support.secret", self._key)
        yield _CONFIG

    @override
    def play(self, stage: Stage) -> None:
        stage.telling.scene("The support desk: Joe says that the picture flickers (webhook, signed as GitHub signs)")
        self.deliver(stage, complaint(self._key))

    @property
    @override
    def expected(self) -> Expected:
        return Expected(1, frozenset({("email", EMAIL)}))


def complaint(key: str) -> Delivery:
    """The complaint as the support desk delivers it."""
    issue = {"number": 17, "title": "The picture flickers"}
    body = json.dumps({"action": "opened", "issue": issue, "sender": {"login": "joe", "email": EMAIL}}).encode()
    signature = hmac.digest(key.encode(), body, "sha256").hex()
    headers = {"x-github-event": "issues", "x-github-delivery": "issue-17", "x-hub-signature-256": f"sha256={signature}"}
    return Delivery("/hooks/support", body, headers)
