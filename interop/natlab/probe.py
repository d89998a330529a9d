"""What a NAT does, as RFC 4787 (UDP) and RFC 5382 (TCP) describe it, seen from behind it.

The method is RFC 5780's: two public addresses with two ports each; one socket that talks to
several of them shows the mapping, and packets from the ones it never talked to show the filtering.
Client and server use plain trio sockets and nothing of Carrick, so that the same code runs on
kernel sockets and on any others that trio's socket factory gives.

    python -m interop.natlab.probe serve 11.0.113.2 11.0.113.3    prints "ready" when it listens
    python -m interop.natlab.probe probe 11.0.113.2 11.0.113.3    prints the report as JSON
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import trio

from interop.natlab.messages import (
    MAX_MESSAGE,
    Message,
    Socket,
    decode,
    dial,
    encode,
    endpoint,
    family,
    receive_line,
    send_line,
    tcp_socket,
    udp_socket,
)
from interop.natlab.report import (
    PORTS,
    Allocation,
    Answer,
    Behaviour,
    Dependence,
    Endpoint,
    NatReport,
    Servers,
    allocation_of,
    filtering_of,
    mapping_of,
)
from interop.natlab.server import TOKEN, serve

__all__ = [
    "Allocation",
    "Answer",
    "Behaviour",
    "Dependence",
    "NatReport",
    "Servers",
    "probe",
    "serve",
]

SAMPLES = 5  # new mappings that are looked at for the allocation of ports


async def probe(
    servers: Servers,
    *,
    local: str | None = None,
    patience: float = 1.0,
    attempts: int = 2,
    silences: Sequence[float] = (),
) -> NatReport:
    """Ask *servers* how the NAT in front of this host behaves.

    *local* is the address to speak from (default: the one the system chooses). Before silence is
    believed, *attempts* are made, *patience* seconds apart (longer where a server waits for
    somebody too). *silences* are seconds after which to see if a UDP mapping still lives.
    """
    if local is None:
        local = await _local_address(servers.primary)
    udp = _UdpProbe(servers, local, patience, attempts)
    tcp = _TcpProbe(servers, local, patience, attempts)
    # The order of new mappings shows the allocation of ports, so nothing else happens meanwhile.
    found = {"udp": await udp.mapping(), "tcp": await tcp.mapping()}
    lifetime: list[tuple[float | None, float | None]] = []

    async def behind(name: str, part: _UdpProbe | _TcpProbe) -> None:
        if found[name].mapping is not None:
            found[name] = await part.filtering(found[name])

    async def life() -> None:
        lifetime.append(await udp.lifetime(silences))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(behind, "udp", udp)
        nursery.start_soon(behind, "tcp", tcp)
        if silences and found["udp"].mapping is not None:
            nursery.start_soon(life)
    return NatReport(local, found["udp"], found["tcp"], lifetime[0] if lifetime else None)


async def _local_address(remote: Endpoint) -> str:
    with trio.socket.socket(family(remote[0]), socket.SOCK_DGRAM) as sock:
        await sock.connect(remote)
        return endpoint(sock.getsockname())[0]


@dataclass
class _UdpProbe:
    servers: Servers
    local: str
    patience: float
    attempts: int
    tokens: itertools.count[int] = field(default_factory=itertools.count)

    async def _ask(self, sock: Socket, server: Endpoint, request: Message) -> Message | None:
        """Send a request until its answer comes: from *via*, if that is who should answer."""
        request["token"] = next(self.tokens)
        expected = endpoint(request.get("via", server))
        for _ in range(self.attempts):
            await sock.sendto(encode(request), server)
            with trio.move_on_after(self.patience * (2 if request["op"] == "knock" else 1)):
                while True:
                    message, sender = await _receive_from(sock)
                    if message.get("token") == request["token"] and sender == expected:
                        return message
        return None

    async def _mapped(self, sock: Socket, server: Endpoint) -> Endpoint | None:
        answer = await self._ask(sock, server, {"op": "echo"})
        return endpoint(answer["mapped"]) if answer else None

    async def mapping(self) -> Behaviour:
        observed: list[Endpoint] = []
        local: list[int] = []
        external: list[int] = []
        with await udp_socket((self.local, 0)) as sock:
            mine = endpoint(sock.getsockname())
            servers = self.servers
            for server in (servers.primary, servers.other_port, servers.other_address):
                mapped = await self._mapped(sock, server)
                if mapped is None:
                    return Behaviour()
                observed.append(mapped)
        for _ in range(SAMPLES):
            with await udp_socket((self.local, 0)) as sock:
                mapped = await self._mapped(sock, self.servers.primary)
                if mapped is not None:
                    local.append(sock.getsockname()[1])
                    external.append(mapped[1])
        return _mapped_behaviour(mine, observed, local, external)

    async def filtering(self, found: Behaviour) -> Behaviour:
        results: dict[str, Any] = {}
        passed: dict[Endpoint, bool] = {}
        strangers = self.servers.other_port, self.servers.other_address

        async def passes(via: Endpoint) -> None:
            with await udp_socket((self.local, 0)) as sock:
                await self._mapped(sock, self.servers.primary)
                hit = await self._ask(sock, self.servers.primary, {"op": "hit", "via": via})
                passed[via] = hit is not None

        async def knock() -> None:
            with await udp_socket((self.local, 0)) as sock:
                reply = await self._ask(sock, self.servers.primary, {"op": "knock"})
                results["unsolicited"] = Answer(reply["answer"]) if reply else None

        async def hairpin() -> None:
            results["hairpin"] = await self._hairpin() if found.translated else None

        async with trio.open_nursery() as nursery:
            nursery.start_soon(knock)
            nursery.start_soon(hairpin)
            for stranger in strangers:
                nursery.start_soon(passes, stranger)
        filtering = filtering_of(*(passed[stranger] for stranger in strangers))
        return dataclasses.replace(found, filtering=filtering, **results)

    async def _hairpin(self) -> bool:
        """Whether two sockets of one host reach each other by their external endpoints.

        Both send, so that a filter which looks at hairpinned packets too lets them pass.
        """
        with await udp_socket((self.local, 0)) as one, await udp_socket((self.local, 0)) as two:
            at_one = await self._mapped(one, self.servers.primary)
            at_two = await self._mapped(two, self.servers.primary)
            if at_one is None or at_two is None:
                return False
            for _ in range(self.attempts):
                await one.sendto(encode({"op": "hairpin"}), at_two)
                await two.sendto(encode({"op": "hairpin"}), at_one)
                with trio.move_on_after(self.patience):
                    while (await _receive_from(one))[0].get("op") != "hairpin":
                        pass
                    return True
        return False

    async def lifetime(self, silences: Sequence[float]) -> tuple[float | None, float | None]:
        alive: dict[float, bool] = {}

        async def outlives(silence: float) -> None:
            with (
                await udp_socket((self.local, 0)) as sock,
                await udp_socket((self.local, 0)) as control,
            ):
                mapped = await self._mapped(sock, self.servers.primary)
                await trio.sleep(silence)
                request = {"op": "hit", "to": mapped}
                await control.sendto(encode(request), self.servers.primary)
                with trio.move_on_after(self.patience):
                    await _receive_from(sock)
                    alive[silence] = True
                    return
                alive[silence] = False

        async with trio.open_nursery() as nursery:
            for silence in silences:
                nursery.start_soon(outlives, silence)
        return (
            max((silence for silence, lives in alive.items() if lives), default=None),
            min((silence for silence, lives in alive.items() if not lives), default=None),
        )


async def _receive_from(sock: Socket) -> tuple[Message, Endpoint]:
    while True:
        try:
            data, sender = await sock.recvfrom(MAX_MESSAGE)
        except ConnectionError:  # somebody refused an earlier datagram
            continue
        message = decode(data)
        if message is not None:
            return message, endpoint(sender)


@dataclass
class _TcpProbe:
    servers: Servers
    local: str
    patience: float
    attempts: int

    @asynccontextmanager
    async def _connected(self, local: Endpoint, remote: Endpoint) -> AsyncIterator[Socket | None]:
        """A connection, or None."""
        with await tcp_socket(local) as sock:
            answer = await dial(sock, remote, self.patience * 2)
            yield sock if answer is Answer.OPEN else None

    async def _ask(self, sock: Socket, request: Message) -> Message | None:
        with trio.move_on_after(self.patience * 3):  # the server itself waits for somebody
            try:
                await send_line(sock, request)
                line = await receive_line(sock)
            except OSError:
                return None
            return decode(line) if line is not None else None
        return None

    async def _mapped(self, sock: Socket) -> Endpoint | None:
        answer = await self._ask(sock, {"op": "echo"})
        return endpoint(answer["mapped"]) if answer else None

    async def mapping(self) -> Behaviour:
        observed: list[Endpoint] = []
        local: list[int] = []
        external: list[int] = []
        servers = self.servers
        with await tcp_socket((self.local, 0)) as holder:
            mine = endpoint(holder.getsockname())
            for server in (servers.primary, servers.other_port, servers.other_address):
                async with self._connected(mine, server) as sock:
                    mapped = await self._mapped(sock) if sock is not None else None
                    if mapped is None:
                        return Behaviour()
                    observed.append(mapped)
        for _ in range(SAMPLES):
            async with self._connected((self.local, 0), servers.primary) as sock:
                mapped = await self._mapped(sock) if sock is not None else None
                if sock is not None and mapped is not None:
                    local.append(sock.getsockname()[1])
                    external.append(mapped[1])
        return _mapped_behaviour(mine, observed, local, external)

    async def filtering(self, found: Behaviour) -> Behaviour:
        results: dict[str, Any] = {}
        passed: dict[Endpoint, bool] = {}
        strangers = self.servers.other_port, self.servers.other_address

        async def passes(via: Endpoint) -> None:
            async with self._listening() as (_, sock):
                for _ in range(self.attempts):
                    reply = await self._ask(sock, {"op": "hit", "via": via})
                    passed[via] = reply is not None and reply["answer"] == Answer.OPEN
                    if passed[via]:
                        return

        async def knock() -> None:
            async with self._connected((self.local, 0), self.servers.primary) as sock:
                reply = await self._ask(sock, {"op": "knock"}) if sock is not None else None
                results["unsolicited"] = Answer(reply["answer"]) if reply else None

        async def hairpin() -> None:
            results["hairpin"] = await self._hairpin() if found.translated else None

        async with trio.open_nursery() as nursery:
            nursery.start_soon(knock)
            nursery.start_soon(hairpin)
            for stranger in strangers:
                nursery.start_soon(passes, stranger)
        filtering = filtering_of(*(passed[stranger] for stranger in strangers))
        return dataclasses.replace(found, filtering=filtering, **results)

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[tuple[Endpoint, Socket]]:
        """A listener that says TOKEN, and a connection from its port to the primary server."""
        with await tcp_socket((self.local, 0)) as listener:
            local = endpoint(listener.getsockname())
            listener.listen(8)
            async with (
                self._connected(local, self.servers.primary) as sock,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(_say_token, listener)
                if sock is None:
                    raise ConnectionError(f"no connection to {self.servers.primary}")
                yield local, sock
                nursery.cancel_scope.cancel()

    async def _hairpin(self) -> bool:
        async with self._listening() as (_, sock):
            mapped = await self._mapped(sock)
            if mapped is None:
                return False
            async with self._connected((self.local, 0), mapped) as caller:
                if caller is None:
                    return False
                with trio.move_on_after(self.patience):
                    return await receive_line(caller) == TOKEN
                return False


async def _say_token(listener: Socket) -> None:
    while True:
        sock, _ = await listener.accept()
        with sock:
            await sock.send(TOKEN)


def _mapped_behaviour(
    mine: Endpoint,
    observed: Sequence[Endpoint],
    local: Sequence[int],
    external: Sequence[int],
) -> Behaviour:
    allocation, delta = allocation_of(local, external)
    return Behaviour(
        translated=any(endpoint != mine for endpoint in observed),
        mapping=mapping_of(observed),
        allocation=allocation,
        delta=delta,
        observed=tuple(observed),
    )


async def _serve_command(addresses: Sequence[str], ports: Sequence[int]) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, addresses, ports))
        print("ready", flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="probe", description="How does a NAT behave?")
    commands = parser.add_subparsers(dest="command", required=True)
    server = commands.add_parser("serve", help="answer probes; for laboratories only")
    server.add_argument("addresses", nargs="+")
    client = commands.add_parser("probe", help="print a report as JSON")
    client.add_argument("first")
    client.add_argument("second")
    client.add_argument("--patience", type=float, default=1.0)
    client.add_argument("--silences", type=float, nargs="*", default=())
    for command in (server, client):
        command.add_argument("--ports", type=int, nargs=2, default=PORTS)
    options = parser.parse_args(argv)
    if options.command == "serve":
        trio.run(_serve_command, options.addresses, options.ports)
        return
    servers = Servers(options.first, options.second, tuple(options.ports))
    report = trio.run(partial(probe, servers, patience=options.patience, silences=options.silences))
    sys.stdout.write(report.to_json() + "\n")


if __name__ == "__main__":
    main()
