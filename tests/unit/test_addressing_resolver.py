"""Names in addresses, against a table of records in place of the DNS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
import trio.testing

from carrick.addressing import MAX_BYTES, Resolver, SystemDns, parse_address
from carrick.addressing.resolver import (
    FAMILY_GRACE,
    MAX_ADDRESSES,
    MAX_QUERIES,
    TIMEOUT,
    RecordType,
)
from carrick.errors import ResolutionError

QM = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
ED = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
CIRCUIT = f"/ip4/1.2.3.4/tcp/4001/p2p/{QM}/p2p-circuit"


class Records:
    """A zone: (name, type) -> records, an exception, or seconds of silence before an answer."""

    def __init__(self, zone: dict[tuple[str, RecordType], Sequence[str] | Exception]) -> None:
        self.zone = zone
        self.delays: dict[RecordType, float] = {}
        self.asked: list[tuple[str, RecordType]] = []

    async def __call__(self, name: str, type: RecordType) -> Sequence[str]:
        self.asked.append((name, type))
        await trio.sleep(self.delays.get(type, 0))
        answer = self.zone.get((name, type), ())
        if isinstance(answer, Exception):
            raise answer
        return answer


async def resolved(records: Records, text: str) -> list[str]:
    return [str(found) for found in await Resolver(records).resolve(parse_address(text))]


async def test_no_name_no_query() -> None:
    records = Records({})
    for text in ["/ip4/1.2.3.4/tcp/1", CIRCUIT, "/memory/1", "/ip4/1.2.3.4/tcp/1/tls/sni/a.b/ws"]:
        assert await resolved(records, text) == [text]
    assert records.asked == []


async def test_dns_gives_both_families_ipv6_first() -> None:
    records = Records({("a.b", "A"): ["1.2.3.4", "1.2.3.5"], ("a.b", "AAAA"): ["2001:db8::1"]})
    assert await resolved(records, "/dns/a.b/tcp/1") == [
        "/ip6/2001:db8::1/tcp/1",
        "/ip4/1.2.3.4/tcp/1",
        "/ip4/1.2.3.5/tcp/1",
    ]
    assert sorted(records.asked) == [("a.b", "A"), ("a.b", "AAAA")]


async def test_dns4_and_dns6_ask_for_their_family() -> None:
    records = Records({("a.b", "A"): ["1.2.3.4"], ("a.b", "AAAA"): ["2001:db8::1"]})
    assert await resolved(records, f"/dns4/a.b/udp/1/quic-v1/p2p/{QM}") == [
        f"/ip4/1.2.3.4/udp/1/quic-v1/p2p/{QM}"
    ]
    assert await resolved(records, "/dns6/a.b/tcp/1") == ["/ip6/2001:db8::1/tcp/1"]
    assert records.asked == [("a.b", "A"), ("a.b", "AAAA")]


async def test_families_are_asked_at_once(autojump_clock: trio.testing.MockClock) -> None:
    records = Records({("a.b", "A"): ["1.2.3.4"], ("a.b", "AAAA"): ["2001:db8::1"]})
    records.delays = {"A": 3, "AAAA": 3}
    start = trio.current_time()
    assert len(await resolved(records, "/dns/a.b/tcp/1")) == 2
    assert trio.current_time() - start == pytest.approx(3)


async def test_a_silent_family_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    records = Records({("a.b", "A"): ["1.2.3.4"], ("a.b", "AAAA"): ["2001:db8::1"]})
    records.delays = {"AAAA": 100}
    start = trio.current_time()
    assert await resolved(records, "/dns/a.b/tcp/1") == ["/ip4/1.2.3.4/tcp/1"]
    assert trio.current_time() - start == pytest.approx(FAMILY_GRACE)


async def test_an_empty_family_does_not_hurry_the_other(
    autojump_clock: trio.testing.MockClock,
) -> None:
    records = Records({("a.b", "A"): ["1.2.3.4"]})
    records.delays = {"A": 3}
    assert await resolved(records, "/dns/a.b/tcp/1") == ["/ip4/1.2.3.4/tcp/1"]


async def test_one_family_may_fail() -> None:
    records = Records({("a.b", "A"): ["1.2.3.4"], ("a.b", "AAAA"): ResolutionError("refused")})
    assert await resolved(records, "/dns/a.b/tcp/1") == ["/ip4/1.2.3.4/tcp/1"]


async def test_both_families_fail_with_both_causes() -> None:
    failures = [ResolutionError("no such name"), OSError("network is unreachable")]
    records = Records({("a.b", "A"): failures[0], ("a.b", "AAAA"): failures[1]})
    with pytest.raises(ResolutionError) as caught:
        await resolved(records, "/dns/a.b/tcp/1")
    assert "a.b A: no such name" in str(caught.value)
    assert "a.b AAAA: network is unreachable" in str(caught.value)
    assert "/dns/a.b/tcp/1" in str(caught.value)
    group = caught.value.__cause__
    assert isinstance(group, ExceptionGroup)
    causes = [cause.__cause__ for cause in group.exceptions]
    assert all(failure in causes for failure in failures)


async def test_a_name_without_addresses() -> None:
    with pytest.raises(ResolutionError, match="no address"):
        await resolved(Records({}), "/dns4/a.b/tcp/1")


async def test_localhost_and_literals_ask_nobody() -> None:
    records = Records({})
    assert await resolved(records, "/dns/localhost/tcp/1") == [
        "/ip6/::1/tcp/1",
        "/ip4/127.0.0.1/tcp/1",
    ]
    assert await resolved(records, "/dns4/x.LocalHost./tcp/1") == ["/ip4/127.0.0.1/tcp/1"]
    assert await resolved(records, "/dns/192.0.2.1/tcp/1") == ["/ip4/192.0.2.1/tcp/1"]
    with pytest.raises(ResolutionError):
        await resolved(records, "/dns6/192.0.2.1/tcp/1")
    assert records.asked == []


async def test_the_name_is_kept_for_tls() -> None:
    records = Records({("a.b", "A"): ["1.2.3.4"]})
    kept = "/ip4/1.2.3.4/tcp/443/tls/sni/a.b/ws"
    assert await resolved(records, "/dns4/a.b/tcp/443/wss") == [kept]
    assert await resolved(records, f"/dns4/a.b/tcp/443/tls/ws/p2p/{QM}") == [f"{kept}/p2p/{QM}"]
    assert await resolved(records, "/dns4/a.b/wss") == ["/ip4/1.2.3.4/tls/sni/a.b/ws"]
    given = "/tcp/443/tls/sni/c.d/ws"
    assert await resolved(records, f"/dns4/a.b{given}") == [f"/ip4/1.2.3.4{given}"]
    assert await resolved(records, "/dns4/a.b/tcp/80/ws") == ["/ip4/1.2.3.4/tcp/80/ws"]
    assert await resolved(records, "/dns4/9.9.9.9/tcp/1/wss") == ["/ip4/9.9.9.9/tcp/1/wss"]


async def test_dnsaddr() -> None:
    records = Records(
        {
            ("_dnsaddr.a.b", "TXT"): [
                f"dnsaddr=/ip6/2001:db8::3/tcp/4001/p2p/{QM}",
                "v=spf1 -all",
                "/ip4/9.9.9.9/tcp/1",
                "dnsaddr=/nonsense/1",
                "dnsaddr=",
                f"dnsaddr=/ip4/1.2.3.4/udp/4001/quic-v1/p2p/{ED}",
            ]
        }
    )
    assert await resolved(records, "/dnsaddr/a.b") == [
        f"/ip6/2001:db8::3/tcp/4001/p2p/{QM}",
        f"/ip4/1.2.3.4/udp/4001/quic-v1/p2p/{ED}",
    ]
    assert records.asked == [("_dnsaddr.a.b", "TXT")]


async def test_dnsaddr_suffix_selects() -> None:
    records = Records(
        {
            ("_dnsaddr.a.b", "TXT"): [
                f"dnsaddr=/ip4/1.1.1.1/tcp/4001/p2p/{QM}",
                f"dnsaddr=/ip4/2.2.2.2/tcp/4001/p2p/{ED}",
                "dnsaddr=/ip4/3.3.3.3/tcp/4001",
            ]
        }
    )
    assert await resolved(records, f"/dnsaddr/a.b/p2p/{ED}") == [f"/ip4/2.2.2.2/tcp/4001/p2p/{ED}"]
    assert await resolved(records, f"/dnsaddr/a.b/tcp/4001/p2p/{QM}") == [
        f"/ip4/1.1.1.1/tcp/4001/p2p/{QM}"
    ]
    with pytest.raises(ResolutionError, match="fits"):
        await resolved(records, "/dnsaddr/a.b/tcp/1")


async def test_dnsaddr_nests_and_keeps_its_order(autojump_clock: trio.testing.MockClock) -> None:
    records = Records(
        {
            ("_dnsaddr.a.b", "TXT"): [
                f"dnsaddr=/dnsaddr/c.d/p2p/{QM}",
                f"dnsaddr=/dns/e.f/tcp/2/p2p/{QM}",
                f"dnsaddr=/dnsaddr/c.d/p2p/{ED}",
            ],
            ("_dnsaddr.c.d", "TXT"): [
                f"dnsaddr=/dns4/e.f/tcp/1/p2p/{QM}",
                f"dnsaddr=/ip4/9.9.9.9/tcp/1/p2p/{ED}",
            ],
            ("e.f", "A"): ["1.2.3.4"],
        }
    )
    records.delays = {"TXT": 0.2, "A": 0.1}
    assert await resolved(records, f"/dnsaddr/a.b/p2p/{QM}") == [
        f"/ip4/1.2.3.4/tcp/1/p2p/{QM}",
        f"/ip4/1.2.3.4/tcp/2/p2p/{QM}",
    ]


async def test_names_behind_a_relay() -> None:
    records = Records(
        {
            ("_dnsaddr.a.b", "TXT"): [f"dnsaddr=/ip4/5.6.7.8/tcp/1/p2p/{ED}"],
            ("e.f", "A"): ["1.2.3.4"],
        }
    )
    assert await resolved(records, f"{CIRCUIT}/dnsaddr/a.b") == [
        f"{CIRCUIT}/ip4/5.6.7.8/tcp/1/p2p/{ED}"
    ]
    relay = f"tcp/4001/p2p/{QM}/p2p-circuit"
    assert await resolved(records, f"/dns4/e.f/{relay}/dnsaddr/a.b/p2p/{ED}") == [
        f"/ip4/1.2.3.4/{relay}/ip4/5.6.7.8/tcp/1/p2p/{ED}"
    ]


async def test_a_loop_is_asked_once() -> None:
    records = Records(
        {("_dnsaddr.a.b", "TXT"): ["dnsaddr=/dnsaddr/a.b"] * 100 + ["dnsaddr=/ip4/1.2.3.4/tcp/1"]}
    )
    with pytest.raises(ResolutionError):
        await resolved(records, "/dnsaddr/a.b")  # the good record is the 101st: not read
    assert records.asked == [("_dnsaddr.a.b", "TXT")]


async def test_depth_is_four() -> None:
    zone: dict[tuple[str, RecordType], Sequence[str] | Exception] = {
        (f"_dnsaddr.n{depth}.b", "TXT"): [f"dnsaddr=/dnsaddr/n{depth + 1}.b"] for depth in range(9)
    }
    records = Records(zone)
    with pytest.raises(ResolutionError, match="more than 4"):
        await resolved(records, "/dnsaddr/n0.b")
    assert len(records.asked) == 4
    zone["_dnsaddr.n3.b", "TXT"] = ["dnsaddr=/dns4/e.f/tcp/1"]
    zone["e.f", "A"] = ["1.2.3.4"]
    assert await resolved(records, "/dnsaddr/n0.b") == ["/ip4/1.2.3.4/tcp/1"]


class Bomb:
    """100 wide, endlessly deep, no name twice, pointing at private addresses too (attack 78)."""

    def __init__(self, delay: float = 0, *, leaves: bool = True) -> None:
        self.delay = delay
        self.leaves = leaves
        self.asked = 0
        self.running = self.peak = 0

    async def __call__(self, name: str, type: RecordType) -> Sequence[str]:
        self.asked += 1
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            await trio.sleep(self.delay)
        finally:
            self.running -= 1
        if type != "TXT":
            return [f"10.{self.asked}.0.{n}" for n in range(200)]
        own = self.asked
        records = [f"dnsaddr=/dnsaddr/n{own}x{n}.bomb" for n in range(99)]
        if self.leaves:
            records[::10] = [f"dnsaddr=/ip4/10.0.{own}.{n}/tcp/1" for n in range(10)]
        return records


async def test_bomb_with_addresses() -> None:
    bomb = Bomb()
    with trio.fail_after(TIMEOUT):
        found = await Resolver(bomb).resolve(parse_address("/dnsaddr/bomb"))
    assert 1 <= len(found) <= MAX_ADDRESSES
    assert bomb.asked <= MAX_QUERIES


async def test_bomb_without_addresses() -> None:
    bomb = Bomb(leaves=False)
    with pytest.raises(ResolutionError) as caught:
        await Resolver(bomb).resolve(parse_address("/dnsaddr/bomb"))
    assert bomb.asked == MAX_QUERIES
    assert len(str(caught.value)) < 5000


async def test_slow_bomb_ends_with_what_was_found(autojump_clock: trio.testing.MockClock) -> None:
    bomb = Bomb(delay=3)
    start = trio.current_time()
    found = await Resolver(bomb).resolve(parse_address("/dnsaddr/bomb"))
    assert found
    assert trio.current_time() - start == pytest.approx(TIMEOUT)
    assert bomb.running == 0


async def test_silence_ends_after_the_timeout(autojump_clock: trio.testing.MockClock) -> None:
    bomb = Bomb(delay=1e6)
    start = trio.current_time()
    with pytest.raises(ResolutionError, match="longer than 5 s"):
        await Resolver(bomb).resolve(parse_address("/dns/a.b/tcp/1"))
    assert trio.current_time() - start == pytest.approx(TIMEOUT)
    assert bomb.running == 0


async def test_many_hosts_are_cut() -> None:
    records = Records({("a.b", "A"): [f"10.0.0.{n}" for n in range(200)]})
    assert len(await resolved(records, "/dns4/a.b/tcp/1")) == MAX_ADDRESSES


async def test_names_that_need_no_query_are_bounded_too() -> None:
    nest = "/dns/localhost/tcp/1" * 15  # doubles at each name
    with pytest.raises(ResolutionError, match="on the way"):
        await resolved(Records({}), nest + "/tcp/2")


async def test_too_long_with_the_name_kept() -> None:
    name = ".".join(["a" * 60] * 4)
    text = f"/dns4/{name}/tcp/1/wss/http-path/"
    text += "a" * (MAX_BYTES - len(parse_address(text + "a").to_bytes()))
    assert MAX_BYTES - 1 <= len(parse_address(text).to_bytes()) <= MAX_BYTES
    with pytest.raises(ResolutionError, match="bytes"):
        await resolved(Records({(name, "A"): ["1.2.3.4"]}), text)


async def test_hosts_file(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text(
        "# comment\n127.0.0.1 localhost\n10.0.0.7\tnode7 Node7.lan # here\n"
        "2001:db8::7 node7\nnonsense node8\n\n10.0.0.9 node9\n"
    )
    dns = SystemDns(hosts=path)
    assert await dns("NODE7", "A") == ["10.0.0.7"]
    assert await dns("node7.", "AAAA") == ["2001:db8::7"]
    assert await dns("node7.lan", "A") == ["10.0.0.7"]
    assert await dns("node9", "AAAA") == []  # it is listed, so the DNS is not asked
    found = await Resolver(dns).resolve(parse_address("/dns/node7/tcp/1"))
    assert [str(address) for address in found] == [
        "/ip6/2001:db8::7/tcp/1",
        "/ip4/10.0.0.7/tcp/1",
    ]
