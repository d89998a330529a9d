"""A NAT-PMP (RFC 6886) and PCP (RFC 6887) server for a simulated router."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from carrick.sim.nat import PortTaken
from carrick.sim.packet import Endpoint
from carrick.sim.router import Router
from carrick.sim.udp import UdpSocket

__all__ = ["PortControlServer"]

PORT, ANNOUNCE = 5351, ("224.0.0.1", 5350)
_UNSUPPORTED_VERSION, _NOT_AUTHORIZED, _UNSUPPORTED_OPCODE = 1, 2, 5
_PCP_NO_RESOURCES, _PCP_UNSUPPORTED_OPCODE = 8, 4
_PCP_ADDRESS_MISMATCH = 12
_PMP_NAMES = {1: "udp", 2: "tcp"}
_PCP_NAMES = {17: "udp", 6: "tcp"}
_MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96


@dataclass
class _Held:
    external_port: int
    nonce: bytes
    expires: float


class PortControlServer:
    """Serves NAT-PMP and PCP on port 5351 of the router's LAN address.

    Args:
        pcp, nat_pmp: what it speaks.
        max_lifetime: seconds that it grants at most.
        authorized: False: it refuses to map.
        announces: it tells the LAN when it starts.
        keeps_epoch: it counts on when it has restarted, against the text, as miniupnpd may.

    Attributes:
        requests: (time, protocol, operation) of each request: `map`, `unmap`, `address`,
            `announce`.
    """

    def __init__(
        self,
        router: Router,
        *,
        pcp: bool = True,
        nat_pmp: bool = True,
        max_lifetime: int = 7200,
        authorized: bool = True,
        announces: bool = True,
        keeps_epoch: bool = False,
    ) -> None:
        self.requests: list[tuple[float, str, str]] = []
        self._router = router
        self._pcp, self._nat_pmp = pcp, nat_pmp
        self._max_lifetime = max_lifetime
        self._authorized = authorized
        self._announces = announces
        self._keeps_epoch = keeps_epoch
        self._held: dict[tuple[str, Endpoint], _Held] = {}
        self._started = 0.0

    async def serve(self) -> None:
        """Serve until cancelled, with nothing mapped at first."""
        router = self._router
        for (protocol, _), held in self._held.items():
            router.unmap_port(protocol, held.external_port)
        self._held.clear()
        if not self._keeps_epoch:
            self._started = router.internet.time()
        inside = router.lan.gateway
        assert inside is not None
        socket = await router.sockets.open_udp((inside.addresses[0], PORT))
        try:
            if self._announces:
                self._announce(socket)
            buffer = memoryview(bytearray(65535))
            while True:
                await socket.wait_readable()
                received = socket.recv_into(buffer)
                if received is not None:
                    size, _, client = received
                    answer = self._answer(bytes(buffer[:size]), client)
                    if answer:
                        socket.send(answer, len(answer), client)
        finally:
            socket.close()

    def _announce(self, socket: UdpSocket) -> None:
        socket.multicast_interface = socket.local[0]
        messages = [self._pmp_address()] if self._nat_pmp else []
        messages += [self._pcp_header(0, 0, 0)] if self._pcp else []
        for message in messages:
            socket.send(message, len(message), ANNOUNCE)

    def _answer(self, request: bytes, client: Endpoint) -> bytes:
        if len(request) < 2 or request[1] >= 128:
            return b""
        if request[0] == 0 and self._nat_pmp:
            return self._answer_pmp(request, client)
        if request[0] == 2 and self._pcp and len(request) >= 24:
            return self._answer_pcp(request, client)
        if self._pcp:  # the version that it speaks (RFC 6887, section 9)
            return self._pcp_header(request[1], _UNSUPPORTED_VERSION, 0)
        return struct.pack("!BBHI", 0, request[1] + 128, _UNSUPPORTED_VERSION, self._epoch)

    @property
    def _epoch(self) -> int:
        return int(self._router.internet.time() - self._started)

    def _note(self, protocol: str, operation: str) -> None:
        self.requests.append((self._router.internet.time(), protocol, operation))

    # --- NAT-PMP ----------------------------------------------------------------------------------

    def _pmp_address(self) -> bytes:
        address = IPv4Address(self._router.external_address or 0)
        return struct.pack("!BBHI4s", 0, 128, 0, self._epoch, address.packed)

    def _answer_pmp(self, request: bytes, client: Endpoint) -> bytes:
        opcode = request[1]
        if opcode == 0:
            self._note("nat-pmp", "address")
            return self._pmp_address()
        if opcode not in _PMP_NAMES or len(request) < 12:
            return struct.pack("!BBHI", 0, opcode + 128, _UNSUPPORTED_OPCODE, self._epoch)
        internal, external, lifetime = struct.unpack("!2xHHI", request[2:12])
        self._note("nat-pmp", "map" if lifetime else "unmap")
        result, port, granted = self._map(
            _PMP_NAMES[opcode], (client[0], internal), external, lifetime, b""
        )
        head = struct.pack("!BBHI", 0, opcode + 128, min(result, 4), self._epoch)
        return head + struct.pack("!HHI", internal, port, granted)

    # --- PCP --------------------------------------------------------------------------------------

    def _pcp_header(self, opcode: int, result: int, lifetime: int) -> bytes:
        return struct.pack("!BBxBII12x", 2, opcode + 128, result, lifetime, self._epoch)

    def _answer_pcp(self, request: bytes, client: Endpoint) -> bytes:
        opcode = request[1]
        lifetime, address = struct.unpack("!4xI16s", request[:24])
        if opcode == 0:
            self._note("pcp", "announce")
            return self._pcp_header(0, 0, 0)
        if opcode != 1 or len(request) < 60:
            return self._pcp_header(opcode, _PCP_UNSUPPORTED_OPCODE, 30)
        if address != _MAPPED + IPv4Address(client[0]).packed:
            return self._pcp_header(1, _PCP_ADDRESS_MISMATCH, 30) + request[24:60]
        nonce, number, internal, external = struct.unpack("!12sB3xHH16x", request[24:60])
        self._note("pcp", "map" if lifetime else "unmap")
        result, port, granted = self._map(
            _PCP_NAMES[number], (client[0], internal), external, lifetime, nonce
        )
        outside = IPv4Address(self._router.external_address or 0).packed
        return self._pcp_header(1, result, granted if not result else 30) + struct.pack(
            "!12sB3xHH16s", nonce, number, internal, port, _MAPPED + outside
        )

    # --- both -------------------------------------------------------------------------------------

    def _map(
        self, protocol: str, internal: Endpoint, external: int, lifetime: int, nonce: bytes
    ) -> tuple[int, int, int]:
        """Result, external port, lifetime."""
        router, now = self._router, self._router.internet.time()
        held = self._held.get((protocol, internal))
        if held is not None and held.expires <= now:
            del self._held[protocol, internal]
            held = None
        if not self._authorized or (held is not None and held.nonce != nonce):
            return _NOT_AUTHORIZED, 0, 0
        if not lifetime:
            if held is not None:
                router.unmap_port(protocol, held.external_port)
                del self._held[protocol, internal]
            return 0, 0, 0
        granted = min(lifetime, self._max_lifetime)
        wanted = held.external_port if held is not None else external
        try:
            try:
                port = router.map_port(protocol, wanted, internal, lifetime=granted)
            except PortTaken:
                port = router.map_port(protocol, 0, internal, lifetime=granted)
        except PortTaken:
            return _PCP_NO_RESOURCES, 0, 0
        self._held[protocol, internal] = _Held(port, nonce, now + granted)
        return 0, port, granted
