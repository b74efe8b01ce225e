"""What two nodes have to have in common is compared, and nothing of it is shown."""

from types import SimpleNamespace
from typing import Any

from cdmd.config.alike import differing, digests, sentence, whole
from cdmd.config.together import grouped


class Settings:
    def __init__(self, asks: dict[str, str], effective: dict[str, Any]) -> None:
        self.effective = effective
        self.connectors = {name: SimpleNamespace(name=name, settings={"url": url}) for name, url in asks.items()}


def found(versions: dict[str, str], *, asks: dict[str, str] | None = None, **effective: Any) -> dict[str, str]:
    return digests(Settings(asks or {}, effective), versions)  # type: ignore[arg-type]


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


def test_where_a_plugin_has_its_secrets_from_does_not_count_wherever_they_stand_and_all_else_does() -> None:
    def plugin(**settings: Any) -> dict[str, str]:
        return found({"mail": "1"}, plugins={"mail": settings})

    mine = plugin(
        login={"token": "env:A", "user": "joe"}, servers=[{"key": "file:/a", "port": 1}], keys=["env:A"], like="[a-z]"
    )
    same = plugin(
        login={"token": "[secret]", "user": "joe"},
        servers=[{"key": "credential:b", "port": 1}],
        keys=["file:/b", "file:/c"],
        like="[a-z]",
    )
    assert differing(mine, same) == []
    other = plugin(login={"token": "env:A", "user": "ann"}, servers=[{"key": "file:/a", "port": 2}], keys=[], like="[0-9]")
    assert differing(mine, other) == ["plugins.mail.like", "plugins.mail.login", "plugins.mail.servers"]


def test_which_connectors_go_together_counts_and_not_the_host_itself() -> None:
    mine = found({}, asks={"crm": "http://a/1", "ask": "http://a/2", "shop": "http://b"})
    assert sorted(mine) == ["connectors.ask.host", "connectors.crm.host"]
    assert differing(mine, found({}, asks={"crm": "http://c", "ask": "http://c", "shop": "http://b"})) == []
    three = found({}, asks={"crm": "http://a/1", "ask": "http://a/2", "shop": "http://a"})
    assert differing(mine, three) == ["connectors.ask.host", "connectors.crm.host", "connectors.shop.host"]


def test_connectors_that_ask_the_same_host_go_together() -> None:
    def asking(name: str, *hosts: str) -> Any:
        return SimpleNamespace(name=name, settings=hosts)

    some = [asking("e"), asking("d", "h1", "h3"), asking("a", "h1"), asking("b", "h2"), asking("c", "h3")]
    for order in (some, some[::-1]):
        assert grouped(order, hosts=set) == [["a", "c", "d"], ["b"], ["e"]]
