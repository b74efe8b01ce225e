"""Whom the edge lets through to a connector, and what it says about who is calling."""

import pytest

from cdmd.errors import ConfigInvalid
from cdmd.intake.routes import mount
from cdmd.kit.addresses import parse_networks
from cdmd.kit.proxies import Proxies
from cdmd.kit.secret import Secret
from cdmd.models import Route
from tests.connectors.doubles import Echo, MemorySource, listening

pytestmark = pytest.mark.anyio

OLD, NEW = "vZ3nB0mJq7xK5tR9wLc2yA", "pT8uD4hGf6sW1eQ0zXa9bN"
SECRETS = tuple(Secret(text.encode(), reference="env:PATH_SECRET") for text in (OLD, NEW))


async def test_a_path_is_there_only_with_one_of_its_secrets_behind_it() -> None:
    hidden, source = Echo(Route(path="/hooks/plain", secrets=SECRETS)), MemorySource("plain")
    async with listening((hidden, source)) as edge:
        for secret in (OLD, NEW):
            assert (await edge.client.post(f"/hooks/plain/{secret}?a=1", content=b"x")).status_code == 200
        assert [request.path for request in hidden.requests] == ["/hooks/plain"] * 2, "what is logged or shown holds no secret"
        assert hidden.requests[0].target == f"/hooks/plain/{OLD}?a=1"
        nowhere = await edge.client.post("/hooks/nowhere/at-all", content=b"x")
        for wrong in ("", "/", f"/{OLD[:-1]}", f"/{OLD}x", f"/{OLD}/", f"/{OLD}/{OLD}", f"/%76{OLD[1:]}", "/{secret}"):
            answer = await edge.client.post(f"/hooks/plain{wrong}", content=b"x")
            assert (answer.status_code, answer.content) == (404, b"")
            assert {*answer.headers} == {*nowhere.headers}
        assert (await edge.client.get(f"/hooks/plain/{OLD}")).status_code == 405
        assert (await edge.client.get("/hooks/plain/wrong")).status_code == 404, "a method says nothing either"
    assert source.refused.count("path_secret") == 6


def test_two_connectors_never_answer_one_secret_path() -> None:
    one, other = (Echo(Route(path="/hooks/plain", secrets=SECRETS)) for _ in range(2))
    with pytest.raises(ConfigInvalid, match="already answered by"):
        mount([(one, MemorySource("one")), (other, MemorySource("other"))], max_body=1, reserved=())
    mount([(one, MemorySource("one")), (Echo(Route(path="/hooks/plain")), MemorySource("other"))], max_body=1, reserved=())


@pytest.mark.parametrize(
    ("trusted", "forwarded", "peer"),
    [
        (None, "203.0.113.7", "127.0.0.1"),
        (["10.0.0.0/8"], "203.0.113.7", "127.0.0.1"),
        (["127.0.0.0/8"], "198.51.100.66, 203.0.113.7", "203.0.113.7"),
    ],
)
async def test_only_a_trusted_proxy_is_believed_about_whom_it_speaks_for(
    trusted: list[str] | None, forwarded: str, peer: str
) -> None:
    echo = Echo()
    proxies = None if trusted is None else Proxies(networks=parse_networks(trusted), subject="x-subject", verdict="x-verify")
    headers = {"x-forwarded-for": forwarded, "x-subject": "CN=sender,O=Acme", "x-verify": "SUCCESS"}
    async with listening((echo, MemorySource()), proxies=proxies) as edge:
        assert (await edge.client.post("/hooks/shop", content=b"x", headers=headers)).status_code == 200
    believed = peer == "203.0.113.7"
    assert (echo.requests[0].peer, tuple(echo.requests[0].certificate)) == (peer, ("CN=sender", "O=Acme") if believed else ())
