from cdmd.config.naming import Names
from cdmd.config.schema import ConnectorConfig, ConnectorFrame


def connector(name: str, *was: str, reconcile: str | None = None) -> ConnectorConfig:
    frame = ConnectorFrame(type="t", was=was, reconcile=reconcile)
    return ConnectorConfig(name=name, frame=frame, settings=None, file="f")


def test_every_name_of_a_connector_leads_to_its_first_one_and_streams_stay_apart() -> None:
    names = Names({"c": connector("c", "a", "b"), "x": connector("x")})
    assert [names.earliest(one) for one in ("a", "b", "c", "c.orders", "b.orders", "x", "x.c")] == [
        "a", "a", "a", "a.orders", "a.orders", "x", "x.c",
    ]  # fmt: skip
    assert [names.today(one) for one in ("a", "b", "c", "x", "other")] == ["c", "c", "c", "x", "other"]


def test_names_are_exchanged_while_it_runs() -> None:
    names = Names({})
    assert names.earliest("b.orders") == "b.orders"
    names.configure({"b": connector("b", "a")})
    assert names.earliest("b.orders") == "a.orders"


def test_what_a_stream_finds_is_known_as_what_the_connector_is_told_that_it_reconciles() -> None:
    names = Names({"crm": connector("crm", "old"), "shop": connector("shop", "first", reconcile="crm.contacts")})
    assert [names.earliest(one) for one in ("crm.contacts", "old.contacts", "shop", "crm.orders", "crm")] == [
        "first", "first", "first", "old.orders", "old",
    ]  # fmt: skip
    names.configure({"crm": connector("crm")})
    assert names.earliest("crm.contacts") == "crm.contacts"
