"""A Carrick node that does what a scenario tells it.

    python -m interop.natlab.node

reads a ``Description`` from the first line of standard input, then requests, one on each line:
``{"id": 7, "do": "ping", "with": {"peer": "12D3…"}}``. It prints a line when it listens, then one
for each request as soon as that is done, ``{"id": 7, "result": …}`` or ``{"id": 7, "error": …}``.
It ends with its standard input. The simulator has the same node without the program around it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import trio

from carrick import Connection, Host, HostBuilder, PeerId, Stream
from carrick.addressing import Multiaddr, Reach, parse_address, reach, split_peer
from carrick.errors import PEER_FAILURES, CarrickError
from carrick.host import (
    STRATEGIES,
    ConnectTrace,
    Dependence,
    NatChanged,
    Reachability,
    ReachabilityChanged,
    Service,
)
from carrick.network.events import ConnectionOpened
from carrick.protocols.autonat import AutoNat
from carrick.protocols.identify import Identify
from carrick.protocols.ping import Ping
from carrick.protocols.relay import RelayClient, RelayService

ECHO = "/carrick/benchmarks/echo/1.0.0"  # as interop/peers have it
PORT = 4001
MAX_LINE = 1 << 20  # bytes


# --- what a node is made of -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Description:
    """A node, in words that JSON has.

    Attributes:
        transports: of ``LISTEN``.
        services: of ``SERVICES``, beside identify and ping; no others.
        observers: how many peers must see it at an address.
        stun: STUN servers, ``ip:port``, for ``nat``.
        ipv6: listen there too.
    """

    transports: tuple[str, ...] = ("quic", "tcp")
    services: tuple[str, ...] = ()
    observers: int = 1
    stun: tuple[str, ...] = ()
    ipv6: bool = False

    @classmethod
    def from_json(cls, text: str) -> Description:
        given = json.loads(text)
        lists = {key: tuple(value) for key, value in given.items() if isinstance(value, list)}
        return cls(**{**given, **lists})

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    def builder(self) -> HostBuilder:
        """The default security and muxers; an echo of what is sent to it."""
        hosts = ["/ip4/0.0.0.0", "/ip6/::"] if self.ipv6 else ["/ip4/0.0.0.0"]
        return (
            HostBuilder()
            .transports(*self.transports)
            .listen(*(host + LISTEN[name] for name in self.transports for host in hosts))
            .observers(self.observers)
            .services(
                Identify(),
                Ping(),
                *(SERVICES[name](self) for name in self.services),
                defaults=False,
            )
            .handle(ECHO, _echo, allow_limited=True)
        )


LISTEN = {"quic": f"/udp/{PORT}/quic-v1", "tcp": f"/tcp/{PORT}"}


def _relay(_: Description) -> Service:
    return RelayService()


def _client(_: Description) -> Service:
    return RelayClient()


def _dcutr(_: Description) -> Service:
    from carrick.protocols.dcutr import Dcutr

    return Dcutr()


def _autonat(_: Description) -> Service:
    return AutoNat()


def _nat(description: Description) -> Service:
    from carrick.protocols.nat import NatDetector, NatOptions

    return NatDetector(NatOptions(stun=description.stun))


def _stun(_: Description) -> Service:
    from interop.natlab.stun import StunServer

    return StunServer()


SERVICES: dict[str, Callable[[Description], Service]] = {
    "relay": _relay,
    "client": _client,
    "dcutr": _dcutr,
    "autonat": _autonat,
    "nat": _nat,
    "stun": _stun,
}


async def _echo(stream: Stream) -> None:
    async for chunk in stream:
        await stream.send_all(chunk)


# --- what it can be told --------------------------------------------------------------------------


class NodeError(Exception):
    """A node could not do what it was told.

    Attributes:
        kind: the name of the error's class, there.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


class Node:
    """A host, and what it does on request. Arguments and results are what JSON has; times are in
    seconds."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._sought: set[PeerId] = set()  # by `connect`
        self.commands: dict[str, Callable[..., Awaitable[Any]]] = {
            each.__name__: each
            for each in (
                self.classify,
                self.connect,
                self.dial,
                self.paths,
                self.ping,
                self.reserve,
                self.reset,
                self.status,
                self.transfer,
                self.verdict,
            )
        }

    async def do(self, what: str, arguments: dict[str, Any]) -> Any:
        """Raises ``NodeError``."""
        try:
            return await self.commands[what](**arguments)
        except PEER_FAILURES as error:
            raise NodeError(type(error).__name__, str(error)) from error

    async def status(self) -> dict[str, Any]:
        """Who and where it is, and what it knows of itself."""
        host = self.host
        return {
            "id": str(host.id),
            "addresses": [
                str(each) for each in host.addresses if reach(each) is not Reach.LOOPBACK
            ],
            "nat": {
                "udp": host.nat.udp.type,
                "tcp": host.nat.tcp.type,
                "layers": host.nat.layers.value,
                "address": host.nat.address,
            },
            "reachable": self._reachability(),
            "peers": {str(peer): self._paths(peer) for peer in host.swarm.peers},
        }

    async def classify(self) -> None:
        """Wait until the STUN servers have said what NAT it is behind; see ``status``."""
        from carrick.protocols.nat import NatDetector

        host, detector = self.host, self.host.service(NatDetector)
        with host.events.subscribe(NatChanged) as changes, trio.move_on_after(5):
            while not detector.findings.udp.asked:
                await anext(changes)
        for _ in range(2):  # a busy computer may have been too slow for some answers
            if host.nat.udp.filtering is Dependence.UNKNOWN and not host.nat.udp.blocked:
                await detector.check()

    async def dial(self, addresses: Sequence[str]) -> list[dict[str, Any]]:
        """Reach a peer at once by the addresses given, and by nothing else."""
        connection = await self.host.connect(_addresses(addresses))
        return self._paths(connection.peer_id)

    async def reserve(self, relay: Sequence[str]) -> list[str]:
        """Get a slot on a relay: the addresses where it makes us reachable."""
        reservation = await self.host.service(RelayClient).reserve(_addresses(relay))
        return [f"{address}/p2p/{self.host.id}" for address in reservation.addresses]

    async def connect(
        self,
        addresses: Sequence[str],
        strategies: Sequence[str] = STRATEGIES,
        direct: bool = False,
        timeout: float = 30.0,
        settle: float = 0,
    ) -> dict[str, Any]:
        """``Host.connect`` with its trace; a failure is a result, too.

        *settle*: wait so long for what goes on in the background.
        """
        target = _addresses(addresses)
        self._sought |= {peer for _, peer in map(split_peer, target) if peer is not None}
        trace = ConnectTrace()
        error: CarrickError | None = None
        started = trio.current_time()
        try:
            await self.host.connect(
                target, timeout=timeout, strategies=tuple(strategies), direct=direct, trace=trace
            )
        except CarrickError as failure:
            error = failure
        seconds = trio.current_time() - started
        if settle:
            with trio.move_on_after(settle):
                await trace.settled()
        return {
            "error": error and type(error).__name__,
            "message": error and str(error),
            "seconds": seconds,
            "settled": trio.current_time() - started,
            "outcome": trace.outcome,
            "trace": trace.to_json(),
        }

    async def paths(self, peer: str, direct_within: float = 0) -> list[dict[str, Any]]:
        """The connections with a peer, as soon as one is direct, at the latest then."""
        found = PeerId.parse(peer)
        with self.host.events.subscribe(ConnectionOpened) as opened:
            with trio.move_on_after(direct_within):
                while all(each.is_relayed for each in self.host.swarm.connections(found)):
                    await anext(opened)
        return self._paths(found)

    async def ping(self, peer: str, count: int = 1) -> list[float]:
        """Round-trip times over the best connection."""
        connection, ping = self._best(peer), self.host.service(Ping)
        return [await ping.ping_once(connection) for _ in range(count)]

    async def transfer(self, peer: str, size: int) -> dict[str, Any]:
        """So many bytes there and back over the best connection."""
        connection = self._best(peer)
        data = os.urandom(1024) * -(-size // 1024)
        started = trio.current_time()
        stream = await self.host.open_stream(connection, ECHO, allow_limited=True)
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, data[:size])
            back = await stream.read_exactly(size)
        return {
            "intact": back == data[:size],
            "relayed": connection.is_relayed,
            "seconds": trio.current_time() - started,
        }

    async def verdict(self, within: float) -> dict[str, str] | None:
        """What AutoNAT says as soon as it says whether we are reachable, at the latest then."""
        autonat = self.host.service(AutoNat)
        with self.host.events.subscribe(ReachabilityChanged) as changes:
            with trio.move_on_after(within):
                while autonat.reachability is Reachability.UNKNOWN:
                    await anext(changes)
        return self._reachability()

    async def reset(self) -> None:
        """Close every connection, give reservations back, and forget everybody."""
        host = self.host
        if host.has_service(RelayClient):
            client = host.service(RelayClient)
            for reservation in client.reservations:
                client.release(reservation.relay)
        open_before = host.connections
        async with trio.open_nursery() as nursery:
            for peer in host.swarm.peers:
                nursery.start_soon(host.disconnect, peer)
        for connection in open_before:
            await connection.ended.wait()
        for peer in {*host.peerstore.peers(), *self._sought}:
            host.peerstore.remove(peer)
            host.swarm.dialer.backoff.clear(peer)
        self._sought.clear()

    def _best(self, peer: str) -> Connection:
        connection = self.host.swarm.connection(PeerId.parse(peer))
        if connection is None:
            raise CarrickError("not connected", peer=peer)
        return connection

    def _paths(self, peer: PeerId) -> list[dict[str, Any]]:
        return [
            {
                "address": str(each.remote_address),
                "relayed": each.is_relayed,
                "direction": each.direction.value,
            }
            for each in self.host.swarm.connections(peer)
        ]

    def _reachability(self) -> dict[str, str] | None:
        if not self.host.has_service(AutoNat):
            return None
        found = self.host.service(AutoNat)
        return {
            "": found.reachability.value,
            **{str(address): verdict.value for address, verdict in found.addresses.items()},
        }


def _addresses(texts: Sequence[str]) -> list[Multiaddr]:
    return [parse_address(text) for text in texts]


# --- the program ----------------------------------------------------------------------------------


async def main() -> None:
    stdin = trio.lowlevel.FdStream(os.dup(0))
    lines = _Lines(stdin)
    first = await lines.next()
    if first is None:
        return
    async with Description.from_json(first).builder().open() as host:
        node = Node(host)
        _say(await node.status())
        async with trio.open_nursery() as nursery:
            while (line := await lines.next()) is not None:
                nursery.start_soon(_answer, node, json.loads(line))
            nursery.cancel_scope.cancel()


class _Lines:
    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._rest = b""

    async def next(self) -> str | None:
        while b"\n" not in self._rest:
            piece = await self._stream.receive_some()
            if not piece or len(self._rest) > MAX_LINE:
                return None
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()


async def _answer(node: Node, request: dict[str, Any]) -> None:
    try:
        _say({"id": request["id"], "result": await node.do(request["do"], request["with"])})
    except NodeError as error:
        _say({"id": request["id"], "error": [error.kind, str(error)]})


def _say(message: object) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    sys.exit(trio.run(partial(main)))
