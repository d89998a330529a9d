"""The tests with TCP: all but the filter, which no STUN server can show."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import trio

from carrick.interfaces import ByteListener, Endpoint
from carrick.protocols.nat.base_probe import (
    ANY,
    FIRST,
    GRACE,
    SILENCE,
    Probe,
    if_it_works,
    in_order,
    is_beside,
)
from carrick.protocols.nat.evidence import PortPair
from carrick.protocols.stun import Answer

__all__ = ["TcpProbe"]


class TcpProbe(Probe):
    async def run(self) -> None:
        self.evidence.asked = True
        async with self._listening() as (listener, local), trio.open_nursery() as nursery:
            # The connections stay: a mapping that ends and is made anew may be another one.
            for server in self.servers:
                nursery.start_soon(if_it_works, partial(self._look, server, local, self.first))
            leader = await self.leader()
            if leader is None:
                nursery.cancel_scope.cancel()
                return
            for each in self.further(leader):
                look = partial(self._look, each, local, self.saw)
                await self.in_turn(nursery, look)
            async with trio.open_nursery() as tests:
                if is_beside(leader.mapped, leader.server):
                    hairpin = partial(self._hairpin, listener, leader.mapped)
                    tests.start_soon(if_it_works, hairpin)
                tests.start_soon(trio.sleep, SILENCE)  # for what was started before
                evidence, server = self.evidence, leader.server
                evidence.scattered = await self._series(server, self.scattered_ports())
                evidence.consecutive = await self._series(server, self.consecutive_ports())
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def _listening(self) -> AsyncGenerator[tuple[ByteListener, Endpoint]]:
        """A listener, and the port that the connections are to come from too."""
        listener = await self.client.sockets.listen_tcp((ANY, 0), backlog=8)
        try:
            yield listener, (ANY, listener.local[1])
        finally:
            listener.close()

    async def _look(
        self, server: Endpoint, local: Endpoint, told: Callable[[Answer], None]
    ) -> None:
        async with self.client.tcp(server, local=local, timeout=FIRST + GRACE) as answer:
            told(answer)
            await trio.sleep_forever()

    async def _series(self, server: Endpoint, numbers: Sequence[int]) -> list[PortPair]:
        seen: dict[int, int] = {}

        async def ask(number: int) -> None:
            local = ANY, number
            async with self.client.tcp(server, local=local, timeout=SILENCE) as answer:
                seen[number] = answer.mapped[1]

        async with trio.open_nursery() as nursery, self.turn:
            for number in numbers:
                nursery.start_soon(if_it_works, partial(ask, number))
                await trio.lowlevel.checkpoint()  # or trio starts them in any order
        return in_order(numbers, seen)

    async def _hairpin(self, listener: ByteListener, mapped: Endpoint) -> None:
        """Only our own word counts: a router may answer at its address by itself."""
        token = self.client.new_transaction()
        with trio.move_on_after(SILENCE):
            async with trio.open_nursery() as nursery:

                async def hear() -> None:
                    while True:
                        socket = await listener.accept()
                        buffer = memoryview(bytearray(len(token)))
                        try:
                            while (received := socket.recv_into(buffer)) is None:
                                await socket.wait_readable()
                        finally:
                            socket.close()
                        if buffer[:received] == token:
                            self.evidence.hairpin = True
                            nursery.cancel_scope.cancel()

                async def call() -> None:
                    async with self.turn:
                        pass  # not in the middle of a series
                    socket = await self.client.sockets.connect_tcp(mapped)
                    try:
                        socket.send(memoryview(token))
                        await trio.sleep_forever()
                    finally:
                        socket.close()

                nursery.start_soon(if_it_works, hear)
                nursery.start_soon(if_it_works, call)
        if self.evidence.hairpin is None:
            self.evidence.hairpin = False
