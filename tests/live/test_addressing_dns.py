"""The default query, dnspython on trio, against a DNS server on a loopback socket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
import trio

from carrick.addressing import Resolver, SystemDns, parse_address
from carrick.errors import ResolutionError

QM = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
HASH = "uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g"
LONG = f"/ip4/1.2.3.4/udp/4001/quic-v1/webtransport/certhash/{HASH}/certhash/{HASH}/p2p/{QM}"
MANY = 60  # TXT records that do not fit into a datagram


def quoted(text: str, size: int) -> str:
    """TXT data in several strings of `size` characters."""
    return " ".join(f'"{text[at : at + size]}"' for at in range(0, len(text), size))


ZONE = {
    ("host.example.", "A"): ["192.0.2.7"],
    ("host.example.", "AAAA"): ["2001:db8::7"],
    ("four.example.", "A"): ["192.0.2.4"],
    ("xn--mnchen-3ya.example.", "A"): ["192.0.2.8"],
    ("_dnsaddr.long.example.", "TXT"): [quoted(f"dnsaddr={LONG}", 50)],
    ("_dnsaddr.many.example.", "TXT"): [
        quoted(f"dnsaddr=/ip4/10.0.0.{n}/tcp/4001/p2p/{QM}", 255) for n in range(MANY)
    ],
}


class Server:
    """A name server for `ZONE` on UDP and TCP; names under `silent.example` get no answer."""

    def __init__(self) -> None:
        self.questions: list[tuple[str, str]] = []

    async def run(self, *, task_status: trio.TaskStatus[int]) -> None:
        udp = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        with udp:
            async with trio.open_nursery() as nursery:
                port = await self._bind(udp, nursery)
                task_status.started(port)
                while True:
                    data, sender = await udp.recvfrom(4096)
                    answer = self._answer(data, room=512)
                    if answer is not None:
                        await udp.sendto(answer, sender)

    async def _bind(self, udp: trio.socket.SocketType, nursery: trio.Nursery) -> int:
        """One port number for UDP and TCP."""
        for _ in range(20):
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            port: int = listeners[0].socket.getsockname()[1]
            try:
                await udp.bind(("127.0.0.1", port))
            except OSError:
                await listeners[0].aclose()
                continue
            nursery.start_soon(trio.serve_listeners, self._serve_tcp, listeners)
            return port
        raise RuntimeError("no port is free for UDP and TCP")

    async def _serve_tcp(self, stream: trio.SocketStream) -> None:
        data = b""
        while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2]):
            received = await stream.receive_some()
            if not received:
                return
            data += received
        answer = self._answer(data[2:], room=65535)
        assert answer is not None
        await stream.send_all(len(answer).to_bytes(2) + answer)

    def _answer(self, data: bytes, room: int) -> bytes | None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
        self.questions.append((name, kind))
        if name.endswith("silent.example."):
            return None
        response = dns.message.make_response(query)
        records = ZONE.get((name, kind), [])
        if records:
            response.answer.append(dns.rrset.from_text_list(name, 60, "IN", kind, records))
        elif all(known != name for known, _ in ZONE):
            response.set_rcode(dns.rcode.NXDOMAIN)
        wire = response.to_wire()
        if len(wire) > room:
            response.answer.clear()
            response.flags |= dns.flags.TC
            wire = response.to_wire()
        return wire


@pytest.fixture
async def server(nursery: trio.Nursery) -> AsyncIterator[tuple[Server, SystemDns]]:
    server = Server()
    port = await nursery.start(server.run)
    yield server, SystemDns(nameservers=["127.0.0.1"], port=port)


async def resolved(system_dns: SystemDns, text: str) -> list[str]:
    return [str(found) for found in await Resolver(system_dns).resolve(parse_address(text))]


async def test_hosts(server: tuple[Server, SystemDns]) -> None:
    zone, system_dns = server
    assert await resolved(system_dns, "/dns/host.example/tcp/1") == [
        "/ip6/2001:db8::7/tcp/1",
        "/ip4/192.0.2.7/tcp/1",
    ]
    assert sorted(zone.questions) == [("host.example.", "A"), ("host.example.", "AAAA")]
    assert await resolved(system_dns, "/dns/four.example/tcp/1") == ["/ip4/192.0.2.4/tcp/1"]


async def test_international_names(server: tuple[Server, SystemDns]) -> None:
    _, system_dns = server
    assert await resolved(system_dns, "/dns4/münchen.example/tcp/1") == ["/ip4/192.0.2.8/tcp/1"]


async def test_txt_strings_are_joined(server: tuple[Server, SystemDns]) -> None:
    _, system_dns = server
    assert await resolved(system_dns, "/dnsaddr/long.example") == [LONG]


async def test_a_truncated_answer_is_fetched_over_tcp(server: tuple[Server, SystemDns]) -> None:
    zone, system_dns = server
    assert len(await resolved(system_dns, "/dnsaddr/many.example")) == MANY
    assert len(zone.questions) == 2


async def test_no_such_name(server: tuple[Server, SystemDns]) -> None:
    _, system_dns = server
    with pytest.raises(ResolutionError, match="no such name"):
        await resolved(system_dns, "/dns/nowhere.example/tcp/1")


async def test_no_such_record(server: tuple[Server, SystemDns]) -> None:
    _, system_dns = server
    with pytest.raises(ResolutionError, match="no address"):
        await resolved(system_dns, "/dns6/four.example/tcp/1")


async def test_a_silent_server_ends_in_time(server: tuple[Server, SystemDns]) -> None:
    zone, system_dns = server
    with pytest.raises(ResolutionError, match=r"longer than 0\.2 s"):
        await Resolver(system_dns, timeout=0.2).resolve(parse_address("/dns4/silent.example/tcp/1"))
    assert zone.questions == [("silent.example.", "A")]


async def test_nobody_listens() -> None:
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as free:
        await free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    resolver = Resolver(SystemDns(nameservers=["127.0.0.1"], port=port), timeout=1)
    with pytest.raises(ResolutionError):
        await resolver.resolve(parse_address("/dns4/host.example/tcp/1"))
