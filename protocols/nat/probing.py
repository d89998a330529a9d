"""Has STUN servers look at the NAT in front of us (RFC 5780 section 4).

Everything runs beside each other, so that it ends in `TIMEOUT` even where nothing answers; what was
seen until then is what there is. Only the order of new mappings matters: they are made in turns.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

import trio

from carrick.interfaces import Endpoint, SocketOpener
from carrick.protocols.nat.base_probe import ANY, PORTS, RTO, if_it_works
from carrick.protocols.nat.evidence import Findings
from carrick.protocols.nat.tcp_probe import TcpProbe
from carrick.protocols.nat.udp_probe import UdpProbe
from carrick.protocols.stun import StunClient, UdpQuery
from carrick.sockets import current_sockets

__all__ = ["TIMEOUT", "probe", "quick_ports"]

TIMEOUT = 2.6  # s for everything: whoever asks for the type of a NAT gets it within 3 s
MAX_SERVERS = 8


async def probe(
    servers: Sequence[Endpoint],
    *,
    sockets: SocketOpener | None = None,
    rng: random.Random | None = None,
    timeout: float = TIMEOUT,
) -> Findings:
    """Ask `servers`, over UDP and TCP.

    A server with a second address and port (OTHER-ADDRESS) tells most; several servers without tell
    the mapping. IPv6 servers are asked only for our address.

    Args:
        servers: IP addresses and ports; the first eight are asked.
        rng: chooses local ports.
        timeout: seconds for all of it.
    """
    rng = rng or random.Random()
    client = StunClient(sockets=sockets or current_sockets(), rto=RTO)
    findings = Findings(
        addresses=frozenset(str(each.ip) for each in client.sockets.interface_addresses())
    )
    four = [each for each in servers[:MAX_SERVERS] if ":" not in each[0]]
    six = [each for each in servers[:MAX_SERVERS] if ":" in each[0]]
    turn = trio.Lock()
    udp = UdpProbe(client, findings, findings.udp, four, turn, rng)
    tcp = TcpProbe(client, findings, findings.tcp, four, turn, rng)
    tcp.others = udp.others
    with trio.move_on_after(timeout):
        async with trio.open_nursery() as nursery:
            if four:
                nursery.start_soon(if_it_works, udp.run)
                nursery.start_soon(if_it_works, tcp.run)
            for server in six:
                nursery.start_soon(if_it_works, partial(_ask_six, client, findings, server))
    return findings


async def quick_ports(
    protocol: str,
    servers: Sequence[Endpoint],
    *,
    sockets: SocketOpener | None = None,
    rng: random.Random | None = None,
    timeout: float,
) -> tuple[Endpoint, ...]:
    """The endpoints outside of new mappings, in the order in which they were made.

    One for each of the first two servers, all of one local port, as in a punch. Empty if that fails
    or takes longer than `timeout` seconds.

    Args:
        protocol: `udp` or `tcp`.
    """
    client = StunClient(sockets=sockets or current_sockets())
    rng = rng or random.Random()
    asked = servers[:2]
    seen: dict[int, Endpoint] = {}

    async def answered(at: int, query: UdpQuery) -> None:
        seen[at] = (await query.answer(timeout)).mapped

    async def by_udp() -> None:
        async with client.udp((ANY, 0)) as port:
            queries = [port.query(server) for server in asked]  # sent in this order
            async with trio.open_nursery() as nursery:
                for at, query in enumerate(queries):
                    nursery.start_soon(if_it_works, partial(answered, at, query))

    async def connect(at: int, server: Endpoint, local: Endpoint) -> None:
        async with client.tcp(server, local=local, timeout=timeout) as answer:
            seen[at] = answer.mapped

    async def by_tcp() -> None:
        local = ANY, rng.choice(PORTS)
        async with trio.open_nursery() as nursery:
            for at, server in enumerate(asked):
                nursery.start_soon(if_it_works, partial(connect, at, server, local))
                await trio.lowlevel.checkpoint()  # or trio starts them in any order

    with trio.move_on_after(timeout):
        await if_it_works(by_udp if protocol == "udp" else by_tcp)
    return tuple(seen[at] for at in sorted(seen)) if len(seen) == len(asked) else ()


async def _ask_six(client: StunClient, findings: Findings, server: Endpoint) -> None:
    answer = await client.ask(server, timeout=TIMEOUT)
    findings.address6 = answer.mapped[0]
    findings.latencies.setdefault(server, answer.rtt)
