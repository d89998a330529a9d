"""Gateways that lie, and other hosts on the LAN that play the gateway."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import IPv4Address
from random import Random

import pytest
import trio
import trio.testing

from carrick import HostBuilder
from carrick.errors import MessageTooLarge, ProtocolError
from carrick.protocols.portmap import (
    FAILURES,
    MappingRefused,
    NoGateway,
    PcpClient,
    PortMapper,
    PortMapperOptions,
    find_place,
    probe,
)
from carrick.protocols.portmap.discovery import find_upnp
from carrick.sim import Host, Internet
from carrick.sim.gateways import InternetGatewayDevice, PortControlServer
from carrick.testing.nodes import on_machine, open_node
from tests.support.portmap import DESCRIPTION, SERVICE, LyingDevice, http, serve_udp

pytestmark = pytest.mark.internet(seed=9)
LISTEN = ("/ip4/0.0.0.0/tcp/4001",)
ROOT = "http://192.168.1.1:5000/root.xml"
LAN = "192.168.1.1"


async def search(machine: Host) -> object:
    """What `find_upnp` says on that machine."""
    sockets = machine.sockets
    place = find_place(sockets.interface_addresses(), sockets.default_gateways())
    assert place is not None
    with on_machine(machine):
        return await find_upnp(sockets, place, Random(1))


@asynccontextmanager
async def running(*programs: Callable[[], object]) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for program in programs:
            nursery.start_soon(program)  # type: ignore[arg-type]
        await trio.testing.wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


def reached(internet: Internet, address: str) -> bool:
    return any(entry.destination[0] == address for entry in internet.trace)


@pytest.mark.parametrize(
    "location",
    [
        "http://192.168.1.77:5000/root.xml",
        "http://11.0.0.99/root.xml",
        "http://192.168.1.1@11.0.0.99/root.xml",
        "http://localhost/",
        "http://[::ffff:192.168.1.1]/",
        "https://192.168.1.1/root.xml",
        "file:///etc/passwd",
        "",
    ],
)
async def test_a_location_on_another_host_is_not_fetched(internet: Internet, location: str) -> None:
    router = internet.router("home")
    device = LyingDevice(router, LAN, location)
    alice = router.host("alice")
    async with running(partial(router.run, device.serve)):
        with pytest.raises(NoGateway):
            await search(alice)
    assert device.searches == 6
    sent = [entry for entry in internet.trace if entry.source[0] == alice.address]
    assert {entry.destination[0] for entry in sent} == {"239.255.255.250"}


@pytest.mark.parametrize(
    "page",
    [
        DESCRIPTION.format(control="http://192.168.1.77:5000/ctl"),
        DESCRIPTION.format(control="//192.168.1.77/ctl"),
        "<root><URLBase>http://192.168.1.77:5000/</URLBase>"
        + DESCRIPTION.format(control="/ctl")[6:],
    ],
)
async def test_a_description_that_leads_to_another_host(internet: Internet, page: str) -> None:
    router = internet.router("home")
    device = LyingDevice(router, LAN, ROOT, {"/root.xml": http(page)})
    alice, victim = router.host("alice"), router.host("victim", address="192.168.1.77")
    async with running(partial(router.run, device.serve)):
        with pytest.raises(ProtocolError, match="leads elsewhere"):
            await search(alice)
    assert not reached(internet, victim.address)


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"])
async def test_redirects_are_not_followed(internet: Internet, status: str) -> None:
    router = internet.router("home")
    page = http("", status, "Location: http://192.168.1.77:5000/root.xml")
    device = LyingDevice(router, LAN, ROOT, {"/root.xml": page})
    alice, victim = router.host("alice"), router.host("victim", address="192.168.1.77")
    async with running(partial(router.run, device.serve)):
        with pytest.raises(ProtocolError, match="redirect"):
            await search(alice)
    assert not reached(internet, victim.address)
    assert device.requests == ["GET /root.xml HTTP/1.1"]


BOMB = (
    '<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    "<root>&b;</root>"
)


@pytest.mark.parametrize(
    "page, error",
    [
        (http(BOMB), ProtocolError),
        (http('<!DOCTYPE r SYSTEM "http://192.168.1.77/x"><root/>'), ProtocolError),
        (http("<a>" * 100000), MessageTooLarge),
        (http("<a>" * 100 + "</a>" * 100), ProtocolError),
        (http(b" " * 200_000), MessageTooLarge),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 90_000,
         MessageTooLarge),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000, ProtocolError),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000, MessageTooLarge),
        (b"\x00" * 5000, ProtocolError),
        (http(DESCRIPTION.format(control="/c d\x7f")), ProtocolError),
        (http("<root/>"), ProtocolError),
        (http("", "500 Internal Server Error"), ProtocolError),
        (b"", NoGateway),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)  # fmt: skip
async def test_answers_are_bounded(internet: Internet, page: bytes, error: type[Exception]) -> None:
    router = internet.router("home")
    device = LyingDevice(router, LAN, ROOT, {"/root.xml": page})
    alice, victim = router.host("alice"), router.host("victim", address="192.168.1.77")
    async with running(partial(router.run, device.serve)):
        with pytest.raises(error), trio.fail_after(10):
            await search(alice)
    assert not reached(internet, victim.address)


@pytest.mark.parametrize(
    "answer",
    [
        {"NewExternalIPAddress": "127.0.0.1"},
        {"NewExternalIPAddress": "239.1.2.3"},
        {"NewExternalIPAddress": "255.255.255.255"},
        {"NewExternalIPAddress": "0.0.0.0"},
        {"NewExternalIPAddress": "2001:db8::1"},
        {"NewExternalIPAddress": "11.0.0.9; rm -rf /"},
        {},
    ],
)
async def test_an_address_outside_that_cannot_be(
    internet: Internet, answer: dict[str, str]
) -> None:
    """It is neither advertised nor believed."""
    inside = "".join(f"<{name}>{value}</{name}>" for name, value in answer.items())
    names = ("GetExternalIPAddress", "AddPortMapping", "GetSpecificPortMappingEntry")
    every = "".join(f"<{name}Response>{inside}</{name}Response>" for name in names)
    pages = {
        "/root.xml": http(DESCRIPTION.format(control="/ctl")),
        "/ctl": http(f"<Envelope><Body>{every}</Body></Envelope>"),
    }
    router = internet.router("home")
    device = LyingDevice(router, LAN, ROOT, pages)
    async with (
        running(partial(router.run, device.serve)),
        open_node(router.host("a"), HostBuilder().services(PortMapper), listen=LISTEN) as node,
    ):
        await trio.sleep(20)
        assert device.requests
        assert node.service(PortMapper).addresses() == []
        assert node.host.nat.address is None


async def test_a_gateway_of_few_words(internet: Internet) -> None:
    """It maps, and answers with empty arguments who has which port: it is believed."""
    address = "<NewExternalIPAddress>11.9.9.9</NewExternalIPAddress>"
    names = ("AddPortMapping", "GetSpecificPortMappingEntry", "DeletePortMapping")
    every = f"<GetExternalIPAddressResponse>{address}</GetExternalIPAddressResponse>"
    every += "".join(f"<{name}Response/>" for name in names)
    pages = {
        "/root.xml": http(DESCRIPTION.format(control="/ctl")),
        "/ctl": http(f"<Envelope><Body>{every}</Body></Envelope>"),
    }
    router = internet.router("home")
    device = LyingDevice(router, LAN, ROOT, pages)
    async with (
        running(partial(router.run, device.serve)),
        open_node(router.host("a"), HostBuilder().services(PortMapper), listen=LISTEN) as node,
    ):
        await trio.sleep(5)
        (before,) = node.service(PortMapper).mappings
        await trio.sleep(300)
        assert node.service(PortMapper).mappings == (before,)
        assert str(node.service(PortMapper).addresses()[0]) == "/ip4/11.9.9.9/tcp/4001"


async def test_the_default_gateway_goes_before_whoever_answers_first(internet: Internet) -> None:
    router = internet.router("home")
    liar = router.host("liar")
    lie = f"<Envelope><Body><NewExternalIPAddress>8.8.8.8</NewExternalIPAddress></Body>{SERVICE}"
    pages = {"/root.xml": http(DESCRIPTION.format(control="/ctl")), "/ctl": http(lie)}
    device = LyingDevice(liar, liar.address, f"http://{liar.address}:5000/root.xml", pages)
    gateway = InternetGatewayDevice(router)
    async with (
        running(partial(liar.run, device.serve), partial(router.run, gateway.serve)),
        open_node(router.host("a"), HostBuilder().services(PortMapper), listen=LISTEN) as node,
    ):
        await trio.sleep(20)
        mapper = node.service(PortMapper)
        assert mapper.gateway is not None and mapper.gateway.server == LAN
        assert device.requests == []
        assert [each.external_address for each in mapper.mappings] == [
            IPv4Address(router.external_address)
        ]


# --- PCP and NAT-PMP ------------------------------------------------------------------------------


def pcp_answers(
    lifetime: int, epochs: Random | None, port: int = 4001
) -> Callable[[bytes], list[bytes]]:
    """A PCP server that grants anything for `lifetime`; its epoch is any number."""

    def answer(request: bytes) -> list[bytes]:
        if request[:1] != b"\x02":
            return []
        epoch = epochs.getrandbits(32) if epochs else 5
        head = struct.pack("!BBxBII12x", 2, request[1] + 128, 0, lifetime, epoch)
        outside = bytes(10) + b"\xff\xff" + IPv4Address("11.9.9.9").packed
        return [
            head if request[1] == 0 else head + request[24:42] + struct.pack("!H", port) + outside
        ]

    return answer


def swap(message: bytes, at: int) -> bytes:
    """It, with another byte at that place; a protocol becomes UDP."""
    if at >= len(message):
        return message
    changed = 17 if at == 36 else (message[at] + 1) % 256
    return message[:at] + bytes([changed]) + message[at + 1 :]


@pytest.mark.parametrize("lifetime", [1, 20, 60, 2**32 - 1])
@pytest.mark.parametrize("epochs", [None, Random(3)])
async def test_a_gateway_cannot_make_us_busy(
    internet: Internet, lifetime: int, epochs: Random | None
) -> None:
    """Neither by short leases nor by losing its memory all the time."""
    router = internet.router("home")
    answer = pcp_answers(lifetime, epochs)
    async with (
        running(partial(router.run, serve_udp, router, LAN, answer)),
        open_node(router.host("a"), HostBuilder().services(PortMapper), listen=LISTEN) as node,
    ):
        await trio.sleep(10)
        before = len(internet.trace)
        await trio.sleep(300)
        mapper = node.service(PortMapper)
        assert len(internet.trace) - before < 200
        assert len(mapper.mappings) == (lifetime >= 20)


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: [],
        lambda request: [b""],
        lambda request: [request],
        lambda request: [b"\x02\x80" + bytes(1200)],
        lambda request: [b"\x00\x80" + bytes(5)],
        lambda request: [b"\x00\xff" + bytes(20)],
        pcp_answers(60, None, port=0),
        lambda request: [swap(each, 24) for each in pcp_answers(60, None)(request)],  # the nonce
        lambda request: [swap(each, 36) for each in pcp_answers(60, None)(request)],  # UDP
        lambda request: [swap(each, 41) for each in pcp_answers(60, None)(request)],  # the port
        lambda request: [bytes([request[0], request[1] + 128, 0, 99]) + bytes(56)],
    ],
)
async def test_nonsense_is_no_gateway(
    internet: Internet, answer: Callable[[bytes], list[bytes]]
) -> None:
    router = internet.router("home")
    alice = router.host("alice")
    sockets = alice.sockets
    place = find_place(sockets.interface_addresses(), sockets.default_gateways())
    assert place is not None
    async with running(partial(router.run, serve_udp, router, LAN, answer)):
        async with open_node(alice, HostBuilder().services(PortMapper), listen=LISTEN) as node:
            await trio.sleep(30)
            assert node.service(PortMapper).mappings == ()
        with on_machine(alice):
            found = await probe(sockets, place, ("pcp", "nat-pmp"), Random(1))
    assert all(isinstance(each.error, FAILURES) for each in found if each.client is None)


async def test_answers_of_others_do_not_count(internet: Internet) -> None:
    """Another host on the LAN answers in the silent gateway's place."""
    router = internet.router("home")
    alice, liar = router.host("alice"), router.host("liar")
    client = PcpClient(alice.sockets, IPv4Address(alice.address), LAN)

    async def lie() -> None:
        socket = await liar.sockets.open_udp((liar.address, 5351))
        head = struct.pack("!BBxBII12x", 2, 128, 0, 0, 5)
        while True:
            await trio.sleep(0.1)
            for entry in list(internet.trace):
                if entry.source[0] == alice.address:
                    socket.send(head, len(head), entry.source)

    async with running(partial(liar.run, lie)):
        with pytest.raises(NoGateway):
            await client.external_address()


async def test_forged_announcements_cost_little(internet: Internet) -> None:
    """Anybody can announce in the gateway's name; we ask it, now and then."""
    router = internet.router("home")
    server = PortControlServer(router)
    options = PortMapperOptions(protocols=("pcp",))

    async def flood() -> None:
        socket = await router.sockets.open_udp((LAN, 9999))
        socket.multicast_interface = LAN
        while True:
            socket.send(bytes(24), 24, ("224.0.0.1", 5350))
            await trio.sleep(0.05)

    async with (
        running(partial(router.run, server.serve), partial(router.run, flood)),
        open_node(
            router.host("a"), HostBuilder().services(lambda: PortMapper(options)), listen=LISTEN
        ) as node,
    ):
        await trio.sleep(100)
        assert len(node.service(PortMapper).mappings) == 1
        assert len(server.requests) < 120


async def test_another_host_cannot_remove_our_mapping(internet: Internet) -> None:
    """PCP's nonce: who does not know it is refused (RFC 6887, section 11.3)."""
    router = internet.router("home")
    server = PortControlServer(router)
    alice = router.host("alice")
    options = PortMapperOptions(protocols=("pcp",))
    async with (
        running(partial(router.run, server.serve)),
        open_node(
            alice, HostBuilder().services(lambda: PortMapper(options)), listen=LISTEN
        ) as node,
    ):
        await trio.sleep(2)
        (mapping,) = node.service(PortMapper).mappings
        other = PcpClient(alice.sockets, IPv4Address(alice.address), LAN)
        with pytest.raises(MappingRefused):
            await other.unmap(mapping)
        assert set(router.port_mappings()) == {("tcp", 4001)}
