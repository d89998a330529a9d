"""The tests with UDP (RFC 5780 sections 4.3 and 4.4)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import trio

from carrick.interfaces import Endpoint
from carrick.protocols.nat.base_probe import (
    ANY,
    FIRST,
    GRACE,
    RTO,
    SILENCE,
    Probe,
    if_it_works,
    in_order,
    is_beside,
)
from carrick.protocols.nat.evidence import PortPair
from carrick.protocols.stun import StunError, UdpPort, UdpQuery

__all__ = ["UdpProbe"]


class UdpProbe(Probe):
    async def run(self) -> None:
        self.evidence.asked = True
        async with self.client.udp((ANY, 0)) as port, trio.open_nursery() as nursery:
            for server in self.servers:
                nursery.start_soon(if_it_works, partial(self._first, port, server))
            leader = await self.leader()
            if leader is None:
                nursery.cancel_scope.cancel()
                return
            server = leader.server
            for each in self.further(leader):
                await self.in_turn(nursery, partial(self._look, port, each))
            nursery.start_soon(if_it_works, partial(self._hairpin, server))
            if server in self.others:
                nursery.start_soon(if_it_works, partial(self._filtering, server))
            evidence = self.evidence
            evidence.scattered = await self._series(nursery, server, self.scattered_ports())
            evidence.consecutive = await self._series(nursery, server, self.consecutive_ports())

    async def _first(self, port: UdpPort, server: Endpoint) -> None:
        self.first(await port.ask(server, timeout=FIRST + GRACE))

    async def _look(self, port: UdpPort, server: Endpoint) -> None:
        self.saw(await port.ask(server, timeout=SILENCE))

    async def _filtering(self, server: Endpoint) -> None:
        """From a port of its own: the filter must not know the server's other endpoints."""
        async with self.client.udp((ANY, 0)) as port, trio.open_nursery() as nursery:
            async with self.turn:
                query = port.query(server)
            await query.answer(SILENCE)

            async def other_address() -> None:
                self.evidence.other_address = await _passes(port, server, change_ip=True)

            async def other_port() -> None:
                self.evidence.other_port = await _passes(port, server, change_ip=False)

            nursery.start_soon(other_address)
            nursery.start_soon(other_port)

    async def _hairpin(self, server: Endpoint) -> None:
        """Two ports send to each other, for filters that look at such packets too."""
        async with self.client.udp((ANY, 0)) as one, self.client.udp((ANY, 0)) as two:
            async with self.turn:
                queries = one.query(server), two.query(server)
            at_one, at_two = [(await query.answer(SILENCE)).mapped for query in queries]
            if not (is_beside(at_one, server) and is_beside(at_two, server)):
                return
            token = self.client.new_transaction()
            knocked = two.expect(token)
            for pause in (RTO, 2 * RTO):
                one.knock(at_two, token)
                two.knock(at_one, token)
                with trio.move_on_after(pause):
                    await knocked.wait()
                    break
            self.evidence.hairpin = knocked.is_set()

    async def _series(
        self, nursery: trio.Nursery, server: Endpoint, numbers: Iterable[int]
    ) -> list[PortPair]:
        """New mappings of these local ports, one right after the other."""
        ports: list[UdpPort] = []
        seen: dict[int, int] = {}

        async def ask(port: UdpPort, query: UdpQuery) -> None:
            seen[port.local[1]] = (await query.answer(SILENCE)).mapped[1]

        try:
            for number in numbers:
                try:
                    ports.append(await self.client.open_udp((ANY, number), nursery))
                except OSError:
                    continue  # somebody has it
            async with self.turn:
                queries = [port.query(server) for port in ports]
            async with trio.open_nursery() as answers:
                for port, query in zip(ports, queries, strict=True):
                    answers.start_soon(if_it_works, partial(ask, port, query))
        finally:
            for port in ports:
                port.close()
        return in_order((port.local[1] for port in ports), seen)


async def _passes(port: UdpPort, server: Endpoint, *, change_ip: bool) -> bool | None:
    """Whether an answer from the server's other port, and perhaps address, comes in; None: the
    server does not do that."""
    try:
        await port.ask(server, change_ip=change_ip, change_port=True, timeout=SILENCE)
    except StunError:
        return None
    except TimeoutError:
        return False
    return True
