from cdmd.config.schema import ConnectorConfig, ConnectorFrame
from cdmd.daemon.naming import Names


def connector(name: str, *was: str) -> ConnectorConfig:
    return ConnectorConfig(name=name, frame=ConnectorFrame(type="t", was=was), settings=None, file="f")


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
