"""A target leads to no address that was not configured: by no name, in no notation, after no redirect, at no second look."""

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from cdmd.contracts import AttemptFilter
from cdmd.deliveries.dispatching import Built
from cdmd.errors import AddressRefused
from tests.deliveries.receiving import endpoint, quick, sending, webhook

pytestmark = pytest.mark.anyio

ONCE = quick(retry=["0s"])


async def said(folder: Path, url: str, *answers: Sequence[str], allowed: Sequence[str] = ()) -> str:
    """Why a delivery to ``url`` failed, where its host has the addresses ``answers``, one list after the other."""
    left = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        if not left:
            raise OSError("not found")
        return left.pop(0) if len(left) > 1 else left[0]

    async with sending(folder, resolve=resolve, allowed=allowed, **webhook("crm", url, ONCE)) as it:
        await it.put("crm")
        await it.until(lambda total: total.failed == 1)
        (only,) = await it.store.outbox.attempts(AttemptFilter())
        return only.reason


INSIDE = (
    *("127.0.0.1", "127.8.9.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "0.0.0.0", "224.0.0.1", "240.0.0.1"),
    *("169.254.169.254", "169.254.1.1", "100.100.100.200", "168.63.129.16", "192.0.2.1", "198.18.0.1", "255.255.255.255"),
    *("::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2002:7f00:1::", "2001:0:7f00:1::80ff:fffe"),
)


async def test_a_name_that_leads_inside_is_refused_and_nothing_is_sent(tmp_path: Path) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return [INSIDE[int(host.partition(".")[0][1:])]]

    targets: dict[str, Built] = {}
    for number in range(len(INSIDE)):
        targets |= webhook(f"t{number}", f"https://h{number}.example/hook", ONCE)
    async with sending(tmp_path, resolve=resolve, **targets) as it:
        for name in targets:
            await it.put(name)
        for name in targets:
            await it.until(lambda total: total.failed == 1, target=name)
        attempts = await it.store.outbox.attempts(AttemptFilter(limit=100))
        reasons = {INSIDE[int(one.target[1:])]: one.reason for one in attempts}
        assert len(reasons) == len(INSIDE)
        assert {address: why for address, why in reasons.items() if "example leads to" not in why} == {}


async def test_one_address_inside_among_good_ones_is_enough_to_refuse(tmp_path: Path) -> None:
    assert "a loopback address" in await said(tmp_path, "https://client.example/hook", ["93.184.216.34", "127.0.0.1"])


async def test_an_answer_that_changes_between_two_looks_leads_nowhere_else(tmp_path: Path) -> None:
    async with endpoint() as one:
        first = quick(retry=["0s", "0s"])
        answers = [["127.0.0.1"], ["10.0.0.1"]]

        async def resolve(host: str, port: int) -> Sequence[str]:
            return answers.pop(0) if len(answers) > 1 else answers[0]

        one.answers = [b"HTTP/1.1 500 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"]
        url = f"http://client.example:{one.port}/x"
        async with sending(tmp_path, resolve=resolve, allowed=["127.0.0.0/8"], **webhook("crm", url, first)) as it:
            await it.put("crm")
            await it.until(lambda total: total.failed == 1)
            second, once = await it.store.outbox.attempts(AttemptFilter())
            assert once.status == 500
            assert "a private or reserved address" in second.reason
            assert len(one.got) == 1


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0x7f.1", "localhost", "LOCALHOST."])
async def test_an_odd_notation_is_a_name_like_any_other(tmp_path: Path, host: str) -> None:
    """The machine's resolver takes most of them for 127.0.0.1; only what is written out as an address is its own permission."""
    reason = await said(tmp_path, f"http://{host}:9/x", ["10.0.0.1"])
    assert "leads to" in reason or "does not name" in reason


async def test_the_address_that_is_written_out_is_its_own_permission_but_no_metadata_service(tmp_path: Path) -> None:
    assert "Connection refused" in await said(tmp_path / "a", "http://127.0.0.1:9/x")
    assert "link-local" in await said(tmp_path / "b", "http://169.254.169.254/latest/meta-data/")
    assert "link-local" in await said(tmp_path / "c", "http://[::ffff:169.254.169.254]/latest/meta-data/")


async def test_a_redirect_is_a_failure_and_is_never_followed(tmp_path: Path) -> None:
    async with endpoint() as inside, endpoint() as one:
        places = [f"http://127.0.0.1:{inside.port}/inside", "//169.254.169.254/", "/inside"]
        heads = [f"HTTP/1.1 {status} X\r\nlocation: {to}" for status in (301, 302, 303, 307, 308) for to in places]
        one.answers = [f"{head}\r\ncontent-length: 0\r\n\r\n".encode() for head in heads]
        async with sending(tmp_path, **webhook("crm", one.url, ONCE)) as it:
            for count in range(1, len(heads) + 1):
                await it.put("crm")
                it.dispatcher.hurry("crm")
                await it.until(lambda total, count=count: total.failed == count)  # type: ignore[misc]
            attempts = await it.store.outbox.attempts(AttemptFilter())
            assert {one.reason for one in attempts} == {
                f"it redirects, which is never followed (status {status})" for status in (301, 302, 303, 307, 308)
            }
            assert (len(one.got), inside.got) == (len(heads), [])


async def test_a_plugin_cannot_send_to_a_host_that_its_settings_do_not_name(tmp_path: Path) -> None:
    async with endpoint() as other, endpoint() as one, sending(tmp_path, **webhook("crm", one.url)) as it:
        outlet = it.dispatcher.get("crm").outlet
        with pytest.raises(AddressRefused, match=r"does not name 127\.0\.0\.1 with this port"):
            await outlet.send(other.url, headers={})
        with pytest.raises(AddressRefused, match="does not name"):
            await outlet.http.get(other.url)
        with pytest.raises(AddressRefused, match="does not name"):
            await outlet.connect("127.0.0.1", other.port, timeout=1.0)
        found = await outlet.connect("127.0.0.1", one.port, timeout=1.0)
        assert found.family == socket.AF_INET
        found.close()
