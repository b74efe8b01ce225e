"""What two nodes have to have in common is compared, and nothing of it is shown."""

from typing import Any

from cdmd.config.alike import differing, digests, sentence, whole


class Settings:
    def __init__(self, **effective: Any) -> None:
        self.effective = effective


def found(versions: dict[str, str], **effective: Any) -> dict[str, str]:
    return digests(Settings(**effective), versions)  # type: ignore[arg-type]


def test_what_decides_about_events_counts_and_what_each_machine_has_for_itself_does_not() -> None:
    mine = found(
        {"warranty": "1"},
        identity={"identifiers": {"email": {"limit": 2}}},
        journal={"partitions": 4, "password": "env:A"},
        connectors={"shop": {"known_only": True, "secrets": ["env:A"]}},
        targets={"crm": {"url": "https://a.example", "where": "true"}},
        plugins={"warranty": {"token": "file:/a", "months": 24}, "gone": {"a": 1}},
        http={"listen": ["127.0.0.1:1"]},
    )
    assert sorted(mine) == [
        "connectors.shop.known_only",
        "identity.identifiers.email",
        "journal.partitions",
        "plugins.warranty.months",
        "plugins.warranty.version",
        "targets.crm.where",
    ]
    assert all(len(value) == 16 for value in mine.values())
    other = mine | {"identity.identifiers.email": "0"}
    del other["targets.crm.where"]
    assert differing(mine, other) == ["identity.identifiers.email", "targets.crm.where"]
    assert whole(mine) == whole(dict(reversed(mine.items()))) != whole(other)
    assert sentence(["a", "b"]) == "a, b"
    assert sentence([str(number) for number in range(14)]).endswith("10, 11 and 2 more")
