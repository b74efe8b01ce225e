"""``cdmctl profile suppress`` and ``unsuppress``, and ``cdmctl suppressions``."""

import json

from tests.cli.calling import Cdmctl

JOE = "email:joe@example.com"


def test_somebody_is_suppressed_and_taken_back(cdmctl: Cdmctl) -> None:
    assert cdmctl("profile", "suppress", JOE)[::2] == (0, "suppressed email: 1\n")
    assert cdmctl("suppressions").out.split() == ["digests", "1"]
    assert cdmctl("suppressions", "--json").json == {"digests": 1}
    lines = [json.loads(line) for line in cdmctl("suppressions", "export").out.splitlines()]
    assert [line["type"] for line in lines] == ["suppressions", "suppression"]
    assert cdmctl("profile", "unsuppress", JOE)[::2] == (0, "unsuppressed email\n")
    status, _, err = cdmctl("profile", "unsuppress", JOE)
    assert (status, err) == (4, "cdmctl: that email is not suppressed\n")
