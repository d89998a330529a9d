"""Asks a gateway for mappings by PCP (RFC 6887) or NAT-PMP (RFC 6886)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from typing import TypeVar

import trio

from carrick.errors import ProtocolError
from carrick.interfaces import SocketOpener
from carrick.protocols.portmap import natpmp, pcp
from carrick.protocols.portmap.mapping import Mapping, MappingRefused, NoGateway, Port
from carrick.protocols.portmap.state import EpochWatch

__all__ = ["NatPmpClient", "PcpClient"]

T = TypeVar("T")

# s; RFC 6886 section 3.1 begins so, and doubles. It goes on to 64 s, RFC 6887 begins at 3 s; both
# are for clients that wait for nothing else.
WAITS = (0.25, 0.5, 1.0, 2.0)
MAX_NONCES = 64


class _Client:
    """What both share: one UDP exchange at a time with port 5351 of the gateway, and its epochs."""

    via = ""

    def __init__(self, sockets: SocketOpener, local: IPv4Address, server: str) -> None:
        self.server = server
        self._sockets = sockets
        self._local = local
        self._epochs = EpochWatch()

    @property
    def generation(self) -> int:
        return self._epochs.generation

    async def check(self, mappings: Sequence[Mapping]) -> list[Mapping]:
        await self._look()
        return [each for each in mappings if each.generation != self.generation]

    async def _look(self) -> object:
        """Ask for anything that carries an epoch."""
        raise NotImplementedError

    async def _exchange(self, request: bytes, accept: Callable[[bytes], T | None]) -> T:
        """Send until an answer comes that `accept` makes something of.

        Raises:
            NoGateway: none came in 3.75 s.
            MappingRefused, OSError.
        """
        server = (self.server, natpmp.SERVER_PORT)
        socket = await self._sockets.open_udp((str(self._local), 0))
        buffer = memoryview(bytearray(65535))
        try:
            for wait in WAITS:
                socket.send(request, len(request), server)
                with trio.move_on_after(wait):
                    while True:
                        await socket.wait_readable()
                        received = socket.recv_into(buffer)
                        if received is None or received[2] != server:
                            continue
                        size = min(received[0], received[1] or received[0])
                        try:
                            answer = accept(bytes(buffer[:size]))
                        except ProtocolError:
                            continue
                        if answer is not None:
                            return answer
        finally:
            socket.close()
        raise NoGateway(f"{self.server} does not answer {self.via}")


class PcpClient(_Client):
    """A PCP server; see `GatewayClient`."""

    via = "pcp"

    def __init__(self, sockets: SocketOpener, local: IPv4Address, server: str) -> None:
        super().__init__(sockets, local, server)
        self._nonces: dict[Port, bytes] = {}

    async def external_address(self) -> IPv4Address | None:
        await self._look()
        return None

    async def map(self, port: Port, external_port: int, lifetime: float) -> Mapping:
        response, answer = await self._map(port, external_port, max(1, int(lifetime)))
        return Mapping(
            port,
            self._local,
            answer.external_port,
            answer.external_address,
            float(response.lifetime),
            self.via,
            self.generation,
        )

    async def unmap(self, mapping: Mapping) -> None:
        await self._map(mapping.port, 0, 0)
        self._nonces.pop(mapping.port, None)

    def nonce(self, port: Port) -> bytes:
        """What our mapping of `port` is renewed and removed by; nobody else shall know it."""
        if port not in self._nonces:
            if len(self._nonces) >= MAX_NONCES:
                self._nonces.clear()
            self._nonces[port] = secrets.token_bytes(pcp.NONCE_SIZE)
        return self._nonces[port]

    def set_nonce(self, port: Port, nonce: bytes) -> None:
        """Take over a mapping that was made before."""
        self._nonces[port] = nonce

    async def _map(
        self, port: Port, external_port: int, lifetime: int
    ) -> tuple[pcp.Response, pcp.MapAnswer]:
        nonce = self.nonce(port)

        def accept(data: bytes) -> tuple[pcp.Response, pcp.MapAnswer] | None:
            response = self._decode(data)
            answer = response.map
            if response.is_announce or (answer is None and not response.result):
                return None
            if answer is not None and (answer.nonce, answer.port) != (nonce, port):
                return None  # an answer to something else, or a guess
            self._note(response)
            if answer is None or (lifetime and not response.lifetime):
                return None
            return response, answer

        request = pcp.encode_map(
            self._local, nonce, port, lifetime=lifetime, external_port=external_port
        )
        return await self._exchange(request, accept)

    async def _look(self) -> pcp.Response:
        def accept(data: bytes) -> pcp.Response | None:
            response = self._decode(data)
            if not response.is_announce:
                return None
            self._note(response)
            return response

        return await self._exchange(pcp.encode_announce(self._local), accept)

    def _decode(self, data: bytes) -> pcp.Response:
        if data[:1] == b"\x00" and len(data) >= 8:  # a NAT-PMP server that knows no PCP
            raise MappingRefused(pcp.result_text(1), 1)
        return pcp.decode(data)

    def _note(self, response: pcp.Response) -> None:
        if response.result:
            raise MappingRefused(pcp.result_text(response.result), response.result)
        self._epochs.note(response.epoch, trio.current_time())


class NatPmpClient(_Client):
    """A NAT-PMP server; see `GatewayClient`."""

    via = "nat-pmp"

    async def external_address(self) -> IPv4Address | None:
        answer = await self._look()
        return None if answer.address.is_unspecified else answer.address

    async def map(self, port: Port, external_port: int, lifetime: float) -> Mapping:
        outside = await self.external_address()
        answer = await self._map(port, external_port or port.number, max(1, int(lifetime)))
        return Mapping(
            port,
            self._local,
            answer.external_port,
            outside,
            float(answer.lifetime),
            self.via,
            self.generation,
        )

    async def unmap(self, mapping: Mapping) -> None:
        await self._map(mapping.port, 0, 0)

    async def check(self, mappings: Sequence[Mapping]) -> list[Mapping]:
        outside = await self.external_address()
        return [
            each
            for each in mappings
            if each.generation != self.generation or each.external_address != outside
        ]

    async def _map(self, port: Port, external_port: int, lifetime: int) -> natpmp.PortMapped:
        def accept(data: bytes) -> natpmp.PortMapped | None:
            answer = self._decode(data)
            if not isinstance(answer, natpmp.PortMapped) or answer.port != port:
                return None
            if bool(lifetime) != bool(answer.lifetime):
                return None  # an answer to an earlier request
            return answer

        request = natpmp.encode_map_request(port, external_port, lifetime)
        return await self._exchange(request, accept)

    async def _look(self) -> natpmp.ExternalAddress:
        def accept(data: bytes) -> natpmp.ExternalAddress | None:
            answer = self._decode(data)
            return answer if isinstance(answer, natpmp.ExternalAddress) else None

        return await self._exchange(natpmp.encode_address_request(), accept)

    def _decode(self, data: bytes) -> natpmp.ExternalAddress | natpmp.PortMapped:
        if data[:1] == b"\x02" and len(data) >= 24:  # a PCP server that knows no NAT-PMP
            raise MappingRefused(natpmp.result_text(1), 1)
        answer = natpmp.decode(data)
        if isinstance(answer, natpmp.Refusal):
            raise MappingRefused(natpmp.result_text(answer.result), answer.result)
        self._epochs.note(answer.epoch, trio.current_time())
        return answer
