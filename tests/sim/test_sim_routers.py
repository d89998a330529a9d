"""Routers as hosts see them: time-outs, port mappings, hairpins, nested NATs, firewalls."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import trio

from carrick.sim import PRESETS, Host, Internet, PortTaken, Router, run
from carrick.sim.udp import UdpSocket

Endpoint = tuple[str, int]


async def udp_on(host: Host, port: int = 0) -> UdpSocket:
    return await host.sockets.open_udp(("0.0.0.0", port))


async def heard(socket: UdpSocket, within: float = 1.0) -> Endpoint | None:
    """Who sent the next datagram; None if nobody does."""
    with trio.move_on_after(within):
        await socket.wait_readable()
        received = socket.recv_into(memoryview(bytearray(99)))
        assert received is not None
        return received[2]
    return None


async def reaches(sender: UdpSocket, to: Endpoint, receiver: UdpSocket) -> Endpoint | None:
    sender.send(b"x", 1, to)
    return await heard(receiver)


async def accepts(listening: Host, dialing: Host, to: Endpoint, port: int) -> bool:
    listener = await listening.sockets.listen_tcp(("0.0.0.0", port))
    try:
        with trio.move_on_after(2):
            connection = await dialing.sockets.connect_tcp(to)
            await listener.accept()
            connection.close()
            return True
        return False
    except ConnectionRefusedError:
        return False
    finally:
        listener.close()


@pytest.mark.parametrize("refresh_inbound", [True, False])
def test_udp_mappings_time_out(refresh_inbound: bool) -> None:
    async def program(internet: Internet) -> None:
        nat = replace(PRESETS["port-restricted"], refresh_inbound=refresh_inbound)
        inside = await udp_on(internet.router(nat=nat).host())
        outside = await udp_on(internet.host("server"), 5)
        server = internet.nodes["server"].address
        mapped = await reaches(inside, (server, 5), outside)
        assert mapped is not None
        await trio.sleep(20)  # of the 30 s for traffic one way
        assert await reaches(outside, mapped, inside)
        await trio.sleep(20)
        assert bool(await reaches(outside, mapped, inside)) == refresh_inbound
        for _ in range(2):
            mapped = await reaches(inside, (server, 5), outside)
            assert mapped is not None
            assert await reaches(outside, mapped, inside)
        await trio.sleep(100)  # of the 120 s for traffic both ways
        assert await reaches(outside, mapped, inside)
        await trio.sleep(130)
        assert await reaches(outside, mapped, inside) is None

    run(program)


def test_port_mappings() -> None:
    async def program(internet: Internet) -> None:
        router = internet.router()
        one, other, stranger = router.host(), router.host(), internet.host()
        inside, outside = await udp_on(one, 4001), await udp_on(stranger)
        external = router.external_address
        assert await reaches(outside, (external, 5000), inside) is None
        assert router.map_port("udp", 5000, (one.address, 4001), lifetime=60) == 5000
        assert await reaches(outside, (external, 5000), inside) == (stranger.address, 5)[:1] + (
            outside.local[1],
        )
        # What goes out leaves from the mapped port too.
        assert await reaches(inside, (stranger.address, outside.local[1]), outside) == (
            external,
            5000,
        )
        with pytest.raises(PortTaken):
            router.map_port("udp", 5000, (other.address, 4001))
        assert router.map_port("udp", 0, (other.address, 4001)) not in (0, 5000)
        assert router.map_port("tcp", 4001, (one.address, 4001)) == 4001
        assert await accepts(one, stranger, (external, 4001), 4001)
        left = router.port_mappings()["udp", 5000]
        assert left[0] == (one.address, 4001) and 50 < left[1] < 60
        await trio.sleep(61)
        assert ("udp", 5000) not in router.port_mappings()
        router.unmap_port("tcp", 4001)
        assert not await accepts(one, stranger, (external, 4001), 4001)

    run(program)


@pytest.mark.parametrize("nat", ["full-cone", "port-restricted", "symmetric"])
@pytest.mark.parametrize("hairpin", [True, False])
def test_hairpins(nat: str, hairpin: bool) -> None:
    async def program(internet: Internet) -> None:
        router = internet.router(nat=f"{nat}-hairpin" if hairpin else nat)
        here, there = await udp_on(router.host(), 1), await udp_on(router.host(), 2)
        outside = await udp_on(internet.host("server"), 3)
        server = internet.nodes["server"].address
        mapped = await reaches(there, (server, 3), outside)
        assert mapped is not None
        seen = await reaches(here, mapped, there)
        assert bool(seen) == hairpin
        if seen:  # RFC 4787, REQ-9: the source is external too
            assert seen[0] == router.external_address
            answered_from = await reaches(there, seen, here)
            assert answered_from is not None
            assert (answered_from == mapped) == (nat != "symmetric")

    run(program)


def test_linux_gives_two_hosts_on_one_port_what_looks_symmetric() -> None:
    async def program(internet: Internet) -> None:
        router = internet.router(nat="pr")
        one, other = await udp_on(router.host(), 4001), await udp_on(router.host(), 4001)
        servers = [internet.host(), internet.host()]
        there = [await udp_on(server, 1) for server in servers]
        ends = [(server.address, 1) for server in servers]
        external = router.external_address
        assert await reaches(one, ends[0], there[0]) == (external, 4001)
        assert await reaches(other, ends[1], there[1]) == (external, 4001)
        moved = await reaches(other, ends[0], there[0])
        assert moved is not None and moved != (external, 4001)

    run(program)


def test_an_open_router_that_hears_a_stranger_first_spoils_the_port() -> None:
    """Its connection tracking has that endpoint already: the punch fails (`NAT.md`, 7)."""

    async def program(internet: Internet, nat: str) -> Endpoint | None:
        router = internet.router(nat=nat)
        inside, outside = await udp_on(router.host(), 4102), await udp_on(internet.host("peer"), 7)
        peer = internet.nodes["peer"].address
        assert await reaches(outside, (router.external_address, 4102), inside) is None
        return await reaches(inside, (peer, 7), outside)

    for nat, kept in (("pr", True), ("pr-input-reject", True), ("pr-input-rst", False)):
        mapped = run(partial(program, nat=nat))
        assert mapped is not None and (mapped[1] == 4102) == kept, nat


def test_a_reset_closes_the_hole_at_once() -> None:
    async def program(internet: Internet) -> None:
        router = internet.router()
        host, server = router.host(), internet.host()
        with pytest.raises(ConnectionRefusedError):
            await host.sockets.connect_tcp((server.address, 9), local=("0.0.0.0", 4001))
        dial = partial(server.sockets.connect_tcp, local=("0.0.0.0", 9))
        with trio.move_on_after(2) as waiting:
            await dial((router.external_address, 4001))
        assert waiting.cancelled_caught

    run(program)


def test_nested_nats() -> None:
    async def program(internet: Internet) -> None:
        isp = internet.router("isp", "symmetric", lan="100.64.1.0/24")
        left, right = isp.router("left"), isp.router("right")
        one, other = left.host(), right.host()
        assert left.external_address.startswith("100.64.1.")
        assert one.address == other.address == "192.168.1.2"
        server = internet.host()
        outside = await udp_on(server, 1)
        for host in (one, other):
            seen = await reaches(await udp_on(host, 4001), (server.address, 1), outside)
            assert seen is not None and seen[0] == isp.external_address
        # Next door, within the provider's network, a mapping of the home router suffices.
        right.map_port("tcp", 80, (other.address, 80))
        assert await accepts(other, one, (right.external_address, 80), 80)
        assert internet.unroutable == 0

    run(program)


def test_ipv6_firewall_lets_answers_and_punches_in() -> None:
    async def program(internet: Internet) -> None:
        hosts = [internet.router(ipv6=True).host() for _ in range(2)]
        sockets = [await host.sockets.open_udp(("::", 4001)) for host in hosts]
        ends = [(host.addresses[-1], 4001) for host in hosts]
        assert all(end[0].startswith("2a00:2:") for end in ends)
        assert await reaches(sockets[0], ends[1], sockets[1]) is None
        assert await reaches(sockets[1], ends[0], sockets[0]) == ends[1]
        assert await reaches(sockets[0], ends[1], sockets[1]) == ends[0]
        neighbour = hosts[0].interface.network.host()
        socket = await neighbour.sockets.open_udp(("::", 0))
        assert await reaches(socket, ends[0], sockets[0])

    run(program)


def test_a_router_that_restarts_or_moves_forgets_its_mappings() -> None:
    async def program(internet: Internet) -> None:
        router = internet.router(nat="symmetric")
        host, server = router.host(), internet.host()
        outside = await udp_on(server, 1)
        inside = await udp_on(host)
        to = server.address, 1
        first = await reaches(inside, to, outside)
        assert await reaches(inside, to, outside) == first
        router.crash()
        assert await reaches(inside, to, outside) is None
        router.restart()
        second = await reaches(inside, to, outside)
        assert second != first
        new = router.change_address()
        third = await reaches(inside, to, outside)
        assert third is not None and third[0] == new == router.external_address

    run(program)


def test_a_router_serves_its_lan() -> None:
    """As gateways for port mapping do."""

    async def program(internet: Internet) -> None:
        router: Router = internet.router()
        host, stranger = router.host(), internet.host()
        service = await udp_on(router, 5351)
        client = await udp_on(host)
        seen = await reaches(client, ("192.168.1.1", 5351), service)
        assert seen == (host.address, client.local[1])
        assert await reaches(service, seen, client) == ("192.168.1.1", 5351)
        assert await accepts(router, host, ("192.168.1.1", 80), 80)
        # To the outside it is a host behind its own firewall.
        outside = await udp_on(stranger, 7)
        assert await reaches(outside, (router.external_address, 5351), service) is None
        assert await reaches(service, (stranger.address, 7), outside)
        assert await reaches(outside, (router.external_address, 5351), service)
        assert await accepts(stranger, router, (stranger.address, 81), 81)
        assert not await accepts(router, stranger, (router.external_address, 82), 82)

    run(program)


def test_a_host_on_two_networks() -> None:
    async def program(internet: Internet) -> None:
        office = internet.lan("office", "10.1.0.0/16")
        printer, laptop = office.host("printer"), internet.host("laptop")
        office.attach(laptop)
        server = internet.host()
        for other, source in ((printer, laptop.addresses[1]), (server, laptop.addresses[0])):
            outside = await udp_on(other, 1)
            seen = await reaches(await udp_on(laptop), (other.address, 1), outside)
            assert seen is not None and seen[0] == source

    run(program)


def test_unknown_names_and_impossible_behaviours_are_errors() -> None:
    async def program(internet: Internet) -> None:
        with pytest.raises(ValueError, match="port-restricted"):
            internet.router(nat="restricted")
        internet.host("a", address="11.5.5.5")
        with pytest.raises(ValueError, match="already"):
            internet.host("a")
        with pytest.raises(ValueError, match="taken"):
            internet.host("b", address="11.5.5.5")
        with pytest.raises(ValueError, match="shared"):
            replace(PRESETS["full-cone"], shared_ports=True)

    run(program)


def test_a_port_is_forwarded_beside_the_mapping_that_is_there() -> None:
    async def main(internet: Internet) -> None:
        router = internet.router("r", "prhash")
        inside, known, stranger = router.host("a"), internet.host("k"), internet.host("s")
        one, two, three = await udp_on(inside, 4001), await udp_on(known), await udp_on(stranger)
        mapped = await reaches(one, (known.address, two.local[1]), two)
        assert mapped is not None
        assert mapped[1] != 5000
        forwarded = router.external_address, router.map_port("udp", 5000, (inside.address, 4001))
        seen = await reaches(three, forwarded, one)
        assert seen == (stranger.address, three.local[1])
        assert await reaches(one, seen, three) == forwarded
        assert await reaches(one, (known.address, two.local[1]), two) == mapped
        assert await reaches(two, mapped, one) == (known.address, two.local[1])
        assert await reaches(two, forwarded, one) is None  # these two talk over the other port

    run(main, seed=1)
