import msgspec
import pytest

from cdmd.kit.addresses import hosts_in, is_configured, normal_host, parse, parse_networks, refusal
from cdmd.kit.secret import Secret


class Settings(msgspec.Struct):
    url: str
    hook: Secret
    more: tuple[str, ...] = ()


def test_hosts_are_found_in_structs_secrets_lists_and_tables() -> None:
    settings = Settings(
        url="https://API.example./v1/{id}",
        hook=Secret(b"https://hooks.example/T0/x", reference="env:HOOK"),
        more=("http://[::0:1]:8080/", "no url", "ftp://files.example/", "://", "http://[::bad::]/"),
    )
    found = hosts_in([settings, {"host": "sftp.example", "port": 22}, {"host": "any.example"}, 5])
    assert found == {
        ("api.example", 443), ("hooks.example", 443), ("::1", 8080), ("sftp.example", 22), ("any.example", None),
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["https://{host}/x", "https://api.{region}.example/", "https://good.example\\@x/", "{url}", "https://{a}@good.example/"],
)
def test_a_host_that_is_a_template_names_nothing(text: str) -> None:
    assert hosts_in({"url": text, "host": "{host}"}) == frozenset()


def test_a_host_is_compared_without_case_final_dot_or_long_forms() -> None:
    assert normal_host("Shop.Example.") == "shop.example"
    assert normal_host("[0:0::1]") == "::1"
    assert is_configured("SHOP.example.", 443, frozenset({("shop.example", None)}))
    assert not is_configured("shop.example", 80, frozenset({("shop.example", 443)}))


@pytest.mark.parametrize(
    "text", ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822", "2002:5db8:d822::1", "::ffff:93.184.216.34"]
)
def test_ordinary_public_addresses_are_reached_also_through_nat64(text: str) -> None:
    address = parse(text)
    assert address is not None
    assert refusal(address, host="shop.example", allowed=()) is None


@pytest.mark.parametrize(
    ("text", "allow"),
    [("10.1.2.3", "10.0.0.0/8"), ("::1", "::1"), ("127.0.0.1", "127.0.0.1"), ("fd12::1", "fd00::/8"),
     ("::ffff:10.0.0.1", "10.0.0.0/8"),
     ("169.254.169.254", "169.254.169.254"), ("169.254.1.1", "169.254.0.0/16"), ("fd00:ec2::254", "fd00:ec2::254")],
)  # fmt: skip
def test_a_listed_network_opens_its_addresses(text: str, allow: str) -> None:
    address = parse(text)
    assert address is not None
    assert refusal(address, host="shop.example", allowed=parse_networks([allow])) is None


def test_a_text_that_is_no_network_is_named() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        parse_networks(["nonsense"])
