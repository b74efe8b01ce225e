"""The demo's survey tool: it only tells that a response changed, so the response is fetched from its API (a thin webhook).

The connector is the library's ``qualtrics`` with an address on loopback: a form that is signed with HMAC-SHA512, an API that
wants its key and allows five requests a second.
"""

import hmac
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, Final
from urllib.parse import urlencode

from typing_extensions import override

from cdmd.cli.demo.part import CUSTOMER, EMAIL, Delivery, Expected, Part, Stage, secret_file
from cdmd.cli.demo.serving import JsonServer
from cdmd.cli.demo.telling import took
from cdmd.kit.measures import several

NOTICES: Final = 12
RESPONSE: Final = "R_joe"
SCORE: Final = 9
_SURVEY: Final = "SV_tv"

_CONFIG: Final = """
[connectors.survey]
use = "qualtrics"
secrets = ["file:survey.secret"]
event = {{ data = {{ score = "{{values.QID1}}" }} }}
[connectors.survey.fetch]
url = "{url}/API/v3/surveys/{{SurveyID}}/responses/{{ResponseID}}"
auth = {{ value = "file:survey.key" }}
limits = "5/1s"
settle = "200ms"
"""


class Survey(Part):
    """Joe's answers, told about many times and fetched once."""

    def __init__(self) -> None:
        self._shared, self._key = secrets.token_hex(16), secrets.token_urlsafe(24)
        self.api = JsonServer(self.respond)

    @override
    @contextmanager
    def opened(self, folder: Path) -> Iterator[str]:
        secret_file(folder, "survey.secret", self._shared)
        secret_file(folder, "survey.key", self._key)
        with self.api:
            yield _CONFIG.format(url=self.api.url)

    @property
    @override
    def facts(self) -> Mapping[str, str]:
        return {"survey API": f"{self.api.url}, wants its key, and to be asked five times a second at most"}

    @override
    def play(self, stage: Stage) -> None:
        stage.telling.scene("The survey tool: Joe fills in a form, and it tells only which response changed (thin webhook)")
        begun = monotonic()
        for _ in range(NOTICES):
            stage.deliver(notice(self._shared))
        stage.telling.fact("answered", f"200 to {NOTICES} notifications, each on the disk; none of them says who or what")
        stage.settle()
        requests = several(self.api.asked, "requests")
        stage.telling.fact(
            "fetched", f"by {requests} to the survey's API; stored {took(monotonic() - begun)} after the first notice"
        )
        stage.telling.known("known now", stage.customer())

    @override
    def waits(self, status: Any) -> bool:
        """Until nothing is notified that was not fetched."""
        row = next(one for one in status["connectors"] if one["name"] == "survey")
        return not (row["detail"] or "").startswith("it waits for notifications") or row["to_fetch"] > 0

    @property
    @override
    def expected(self) -> Expected:
        return Expected(1, frozenset({("customer_no", CUSTOMER), ("email", EMAIL)}))

    @override
    def lacking(self, customer: Any, status: Any) -> list[str]:
        """The score."""
        scores = [one["data"].get("score") for one in customer["activities"] if one["type"] == "qualtrics.response"]
        return [] if scores == [SCORE] else [f"the survey's scores are {scores} instead of [{SCORE}]"]

    def respond(self, path: str, headers: Mapping[str, str]) -> tuple[int, Any]:
        """The response as the API tells it, to who has the key."""
        if not hmac.compare_digest(headers.get("x-api-token", ""), self._key):
            return 401, {"error": "the key is missing or wrong"}
        if path != f"/API/v3/surveys/{_SURVEY}/responses/{RESPONSE}":
            return 404, {"error": "no such response"}
        values = {"externalDataReference": CUSTOMER, "recipientEmail": EMAIL, "finished": 1, "QID1": SCORE}
        return 200, {"result": {"responseId": RESPONSE, "values": values}}


def notice(shared: str) -> Delivery:
    """A notification: a form whose field HMAC signs its field MSG."""
    message = json.dumps({"Status": "Complete", "SurveyID": _SURVEY, "ResponseID": RESPONSE, "BrandID": "demo"})
    digest = hmac.digest(shared.encode(), message.encode(), "sha512").hex()
    form = {"Topic": f"surveyengine.completedResponse.{_SURVEY}", "HMAC": digest, "MSG": message}
    return Delivery("/hooks/survey", urlencode(form).encode(), {"content-type": "application/x-www-form-urlencoded"})
