from time import process_time

import pytest

from cdmd.kit.addresses import parse_networks
from cdmd.kit.proxies import Proxies, within

NEAR, FAR = "10.0.0.1", "10.0.0.2"
SENDER, FORGED = "203.0.113.7", "198.51.100.66"


def proxies(hops: int = 1, *, unix: bool = False, header: str = "x-forwarded-for") -> Proxies:
    return Proxies(networks=parse_networks(["10.0.0.0/24", "2001:db8::/32"]), hops=hops, unix=unix, header=header)


def forwarded(*values: str) -> list[tuple[str, str]]:
    return [("host", "x"), *(("x-forwarded-for", value) for value in values)]


@pytest.mark.parametrize(
    ("peer", "values", "hops", "client"),
    [
        (SENDER, [], 1, SENDER),
        (SENDER, [FORGED], 1, SENDER),
        (NEAR, [SENDER], 1, SENDER),
        (NEAR, [f"{FORGED}, {SENDER}"], 1, SENDER),
        (NEAR, [FORGED, SENDER], 1, SENDER),
        (NEAR, [f"{FORGED}, {SENDER}, {FAR}"], 2, SENDER),
        (NEAR, [f"{SENDER}, {FAR}"], 1, FAR),
        (NEAR, [f"{FORGED}, {SENDER}"], 2, SENDER),
        (NEAR, [f"{FORGED}, {FAR}, {SENDER}"], 3, SENDER),
        (NEAR, [FAR], 2, FAR),
        (NEAR, [], 1, NEAR),
        (NEAR, [""], 1, ""),
        (NEAR, [f"{SENDER}, unknown"], 1, "unknown"),
        (NEAR, [f"{SENDER}:4711"], 1, SENDER),
        (NEAR, ["[2001:db9::7]:4711"], 1, "2001:db9::7"),
        (NEAR, ["2001:db9::7"], 1, "2001:db9::7"),
        ("2001:db8::1", [SENDER], 1, SENDER),
        ("::ffff:10.0.0.1", [SENDER], 1, SENDER),
        ("unix", [SENDER], 1, "unix"),
    ],
)
def test_the_client_is_whom_the_last_trusted_proxy_names(peer: str, values: list[str], hops: int, client: str) -> None:
    assert proxies(hops).client(peer, forwarded(*values)) == client


def test_a_proxy_on_a_unix_socket_and_a_header_of_another_name() -> None:
    assert proxies(unix=True).client("unix", forwarded(SENDER)) == SENDER
    assert proxies(header="x-real-ip").client(NEAR, [*forwarded(FORGED), ("x-real-ip", SENDER)]) == SENDER


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("192.0.2.9", True),
        ("::ffff:192.0.2.9", True),
        ("192.0.3.9", False),
        ("2001:db8:1::5", True),
        ("2001:db8:2::5", False),
        ("fe80::1%eth0", True),
        ("192.0.2.9.", False),
        ("", False),
        ("unix", False),
        ("192.0.2.9, 192.0.2.9", False),
    ],
)
def test_networks_of_both_families_and_addresses_that_are_mapped(address: str, inside: bool) -> None:
    assert within(address, parse_networks(["192.0.2.0/24", "2001:db8:1::/48", "fe80::/10"])) is inside


def test_a_certificate_is_believed_only_from_a_trusted_proxy_that_verified_it() -> None:
    known = Proxies(networks=parse_networks([NEAR]), subject="x-ssl-subject", verdict="x-ssl-verify")
    headers = [("x-ssl-subject", r"CN=sender\, Inc,O=Acme, C=SE"), ("x-ssl-verify", "SUCCESS")]
    assert known.certificate(NEAR, headers) == (r"CN=sender\, Inc", "O=Acme", "C=SE")
    assert known.certificate(SENDER, headers) == ()
    assert known.certificate(NEAR, headers[:1]) == ()
    assert known.certificate(NEAR, [headers[0], ("x-ssl-verify", "NONE")]) == ()
    assert known.certificate(NEAR, [*headers, ("x-ssl-verify", "NONE")]) == ()
    assert known.certificate(NEAR, [*headers, ("x-ssl-subject", "CN=other")]) == ()
    assert proxies().certificate(NEAR, headers) == ()


def test_a_long_subject_costs_no_more_than_its_length() -> None:
    known = Proxies(networks=parse_networks(["10.0.0.0/24"]), subject="s", verdict="v")
    began = process_time()
    (name,) = known.certificate(NEAR, [("s", "CN=" + "\u20ac" * 300_000), ("v", "SUCCESS")])
    assert (len(name), process_time() - began < 2) == (300_003, True)
