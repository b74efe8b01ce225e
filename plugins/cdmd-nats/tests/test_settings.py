"""What the settings of connectors and targets refuse, and where."""

from typing import Any

import pytest
from cdmd_nats import NatsConnector, NatsTarget
from cdmd_nats.settings import NatsSettings, NatsTargetSettings, Server

import cdmd

SERVERS = (Server(host="nats.example"),)
SECRET = cdmd.Secret(b"s", reference="env:S")


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"subjects": ("a b",)}, "connectors.n.subjects: 'a b' is no subject"),
        ({"subjects": ("a..b",)}, "connectors.n.subjects"),
        ({"subjects": (">.a",)}, "connectors.n.subjects"),
        ({"subjects": ("a", "b"), "stream": "S"}, "connectors.n.subjects: of a stream one"),
        ({"stream": "a.b"}, "connectors.n.stream: letters"),
        ({"durable": "d"}, "connectors.n.stream: is missing"),
        ({"username": "u"}, "connectors.n.username: username and password go together"),
        ({"token": SECRET, "nkey": SECRET}, "connectors.n.nkey: one way to log in is enough"),
    ],
)
def test_what_a_connector_cannot_mean_is_a_mistake(keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(cdmd.ConfigInvalid) as refused:
        NatsConnector("n", NatsSettings(**{"servers": SERVERS, "subjects": ("a.*", ">"), **keys}))
    assert problem in str(refused.value)


@pytest.mark.parametrize("subject", ["a b", "orders.>", "", "a.{other}"])
def test_a_target_publishes_to_a_subject(subject: str) -> None:
    with pytest.raises(cdmd.ConfigInvalid, match=r"targets\.n\.subject"):
        NatsTarget("n", NatsTargetSettings(servers=SERVERS, subject=subject))


def test_they_are_a_connector_and_a_target() -> None:
    assert isinstance(NatsTarget("n", NatsTargetSettings(servers=SERVERS)), cdmd.Target)
    assert isinstance(NatsConnector("n", NatsSettings(servers=SERVERS, subjects=("a.>",))), cdmd.Connector)
