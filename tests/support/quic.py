"""QUIC peers for tests: two engines in memory, and an attacker that sends any frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import trio

from carrick.identity import PrivateKey, PublicKey
from carrick.interfaces import Endpoint
from carrick.transports.quic.backend import Closed, Established, Event
from carrick.transports.quic.engine import Engine
from carrick.transports.quic.identity import HostIdentity
from carrick.transports.quic.packets import parse_long
from carrick.transports.quic.sealing import PacketSealer
from carrick.transports.quic.settings import EngineSettings
from carrick.transports.quic.tls import Profile

CLIENT: Endpoint = ("192.0.2.1", 1000)
SERVER: Endpoint = ("192.0.2.2", 2000)
MANY = 64


def varint(value: int) -> bytes:
    size, prefix = next(
        each for each in ((1, 0), (2, 1), (4, 2), (8, 3)) if value < 1 << (8 * each[0] - 2)
    )
    return (value | prefix << (8 * size - 2)).to_bytes(size, "big")


def frame(kind: int, *fields: int | bytes) -> bytes:
    """A frame: integers as varints, bytes as they are."""
    return varint(kind) + b"".join(
        each if isinstance(each, bytes) else varint(each) for each in fields
    )


class EnginePair:
    """A client and a server engine, and the datagrams between them, in virtual time."""

    def __init__(
        self,
        client_profile: Profile | None = None,
        server_profile: Profile | None = None,
        *,
        settings: EngineSettings | None = None,
        change: Callable[[list[bytes], str], list[bytes]] = lambda datagrams, to: datagrams,
    ) -> None:
        self.settings = settings or EngineSettings()
        self.now = 1.0
        self._change = change
        client = client_profile or HostIdentity(PrivateKey.generate()).profile()
        self._server_profile = server_profile or HostIdentity(PrivateKey.generate()).profile()
        self.client = Engine({client.alpn: client}, self.settings, is_client=True)
        self.server: Engine | None = None
        self.client_address = CLIENT
        self.events: dict[str, list[Event]] = {"client": [], "server": []}
        self.client.start(SERVER, self.now)

    def exchange(self, *, rounds: int = 200) -> None:
        """Move datagrams both ways until nobody sends any more."""
        for _ in range(rounds):
            there = [data for data, _ in self.client.poll(self.now, MANY)]
            for data in self._change(there, "server"):
                self._deliver(data)
            back = [] if self.server is None else self.server.poll(self.now, MANY)
            for data in self._change([data for data, _ in back], "client"):
                self.client.receive(data, len(data), SERVER, self.now)
            self._collect()
            self.now += 0.001
            if not there and not back:
                return

    def sleep(self, seconds: float) -> None:
        """Let time pass; timers run when they are due."""
        end = self.now + seconds
        while True:
            timers = [
                timer
                for engine in (self.client, self.server)
                if engine is not None and (timer := engine.next_timer()) is not None
            ]
            if not timers or min(timers) > end:
                break
            self.now = max(self.now, min(timers))
            for engine in (self.client, self.server):
                if engine is not None:
                    engine.on_timer(self.now)
            self.exchange()
        self.now = max(self.now, end)
        self._collect()

    def _deliver(self, data: bytes) -> None:
        if self.server is None:
            header = parse_long(data)
            if header is None:
                return
            self.server = Engine(
                {self._server_profile.alpn: self._server_profile},
                self.settings,
                is_client=False,
                original_id=header.destination,
            )
        self.server.receive(data, len(data), self.client_address, self.now)

    def _collect(self) -> None:
        for name, engine in (("client", self.client), ("server", self.server)):
            while engine is not None and (event := engine.next_event()) is not None:
                self.events[name].append(event)

    def established(self, name: str) -> bool:
        return any(isinstance(event, Established) for event in self.events[name])

    def closed(self, name: str) -> Closed | None:
        return next((each for each in self.events[name] if isinstance(each, Closed)), None)


class Attacker:
    """A client that speaks QUIC properly, until told otherwise.

    Args:
        engine_type: a client engine with defects of its own.
    """

    def __init__(
        self,
        remote: Endpoint,
        *,
        key: PrivateKey | None = None,
        profile: Profile | None = None,
        engine_type: type[Engine] = Engine,
    ) -> None:
        self.remote = remote
        profile = profile or HostIdentity(key or PrivateKey.generate()).profile()
        self.engine = engine_type({profile.alpn: profile}, EngineSettings(), is_client=True)
        self.socket = trio.socket.socket(
            trio.socket.AF_INET6 if ":" in remote[0] else trio.socket.AF_INET,
            trio.socket.SOCK_DGRAM,
        )
        self.events: list[Event] = []
        self._sealer: PacketSealer | None = None

    async def connect(self) -> None:
        await self.socket.bind(("::1" if ":" in self.remote[0] else "127.0.0.1", 0))
        self.engine.start(self.remote, trio.current_time())
        await self.until(
            lambda: self.ended or (self.has(Established) and self.engine._handshake_confirmed)
        )

    def has(self, kind: type[Any]) -> bool:
        return any(isinstance(event, kind) for event in self.events)

    @property
    def closed(self) -> Closed | None:
        return next((each for each in self.events if isinstance(each, Closed)), None)

    @property
    def ended(self) -> bool:
        return self.closed is not None

    async def send(self) -> None:
        for data, _ in self.engine.poll(trio.current_time(), MANY):
            await self.socket.sendto(data, self.remote)

    async def until(self, done: Callable[[], bool], seconds: float = 5.0) -> None:
        """Take part until `done`, or for `seconds`."""
        with trio.move_on_after(seconds):
            while not done():
                await self.send()
                timer = self.engine.next_timer()
                now = trio.current_time()
                with trio.move_on_after(max(0.0, (now + 1 if timer is None else timer) - now)):
                    data, address = await self.socket.recvfrom(65535)
                    self.engine.receive(data, len(data), address[:2], trio.current_time())
                self.engine.on_timer(trio.current_time())
                while (event := self.engine.next_event()) is not None:
                    self.events.append(event)

    async def inject(
        self, frames: bytes, socket: trio.socket.SocketType | None = None, *, last: bool = False
    ) -> None:
        """Send a 1-RTT packet with these frames before all else, or behind it."""
        assert self.engine._bridge is not None and self.engine._bridge.send_secret is not None
        if self._sealer is None:
            self._sealer = PacketSealer(*self.engine._bridge.send_secret)
        core = self.engine._core
        assert core is not None
        core.send_ping(1 << 40)
        while True:
            transmit = core.poll_transmit(trio.current_time())
            assert transmit is not None
            numbers = [number for number, *_ in core.outstanding_application_packets]
            opened = self._sealer.open(transmit[0], 8, reversed(numbers))
            if opened is not None:
                break
            await self.socket.sendto(transmit[0], self.remote)
        header, number, payload = opened
        payload = payload + frames if last else frames + payload
        packet = self._sealer.seal(header, 8, number, payload)
        await (socket or self.socket).sendto(packet, self.remote)

    def close(self) -> None:
        self.socket.close()


def accept_any(chain: Sequence[bytes]) -> PublicKey | None:
    return None
