"""CAPABILITIES B4: dials leave from the listening port, so that one NAT mapping serves all."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from carrick.addressing import parse_address
from carrick.errors import CarrickError
from carrick.identity import PrivateKey
from carrick.interfaces import Endpoint
from carrick.sim import Host, Internet, run
from tests.support.punching import PORT, transport_of
from tests.support.transports import Unlimited

DIALS = 20
ANY = {4: "0.0.0.0", 6: "::"}


async def note_tcp(
    server: Host, local: Endpoint, seen: list[Endpoint], *, task_status: trio.TaskStatus[None]
) -> None:
    listener = await server.sockets.listen_tcp(local)
    task_status.started()
    accepted = await listener.accept()
    seen.append(accepted.remote)
    accepted.abort()


async def note_udp(
    server: Host, local: Endpoint, seen: list[Endpoint], *, task_status: trio.TaskStatus[None]
) -> None:
    socket = await server.sockets.open_udp(local)
    task_status.started()
    await socket.wait_readable()
    received = socket.recv_into(memoryview(bytearray(65535)))
    assert received is not None
    seen.append(received[2])


async def dials(internet: Internet, protocol: str, version: int, nat: str | None) -> list[Endpoint]:
    """How a server sees twenty dials at once, each to another port of its."""
    server = internet.host(ipv6=True)
    host = internet.router(nat=nat, ipv6=True).host() if nat else internet.host(ipv6=True)
    transport = transport_of(protocol, host, PrivateKey.generate(), 1)
    suffix = "/quic-v1" if protocol == "udp" else ""
    listeners = [
        await transport.listen(parse_address(f"/ip{each}/{ip}/{protocol}/{PORT}{suffix}"))
        for each, ip in ANY.items()
    ]
    address = next(each for each in server.addresses if (":" in each) == (version == 6))
    seen: list[Endpoint] = []

    async def dial(port: int) -> None:
        target = parse_address(f"/ip{version}/{address}/{protocol}/{port}{suffix}")
        with trio.move_on_after(1):
            try:
                await transport.dial(target, None, budget=Unlimited())
            except CarrickError:
                return

    async with trio.open_nursery() as nursery:
        for port in range(1, DIALS + 1):
            note = note_tcp if protocol == "tcp" else note_udp
            await nursery.start(note, server, (ANY[version], port), seen)
        for port in range(1, DIALS + 1):
            nursery.start_soon(dial, port)
    for listener in listeners:
        listener.close()
    return seen


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_twenty_dials_at_once_leave_from_the_listening_port(protocol: str, version: int) -> None:
    """B4."""
    seen = run(partial(dials, protocol=protocol, version=version, nat=None))
    assert [port for _, port in seen] == [PORT] * DIALS


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_nat_gives_them_all_one_mapping(protocol: str) -> None:
    seen = run(partial(dials, protocol=protocol, version=4, nat="prhash"))
    assert len(seen) == DIALS and len(set(seen)) == 1 and seen[0][1] != PORT
