"""`carrick nat check`: which type of NAT this machine is behind."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

import click
import trio

from carrick import Host, HostBuilder
from carrick.cli.errors import NOT_FOUND
from carrick.cli.nat_report import NatReport
from carrick.cli.node import NodeOptions, make_builder, node_options
from carrick.cli.options import Command, Duration, Settings
from carrick.cli.output import Output
from carrick.cli.targets import Target, TargetType, check_peer_known
from carrick.errors import CarrickError
from carrick.host.observed import Sighting
from carrick.interfaces import Endpoint
from carrick.protocols.nat import (
    TIMEOUT,
    Findings,
    nat_of,
    parse_server,
    probe,
    resolve_servers,
)
from carrick.protocols.ping import Ping
from carrick.protocols.portmap import PROTOCOLS, find_place
from carrick.protocols.portmap import probe as map_probe
from carrick.sockets import current_sockets

__all__ = ["command"]

BUDGET = 2.5  # s of asking: the answer is there within 3 s, whatever is silent
_MARGIN = 0.05  # s: what the probe has found by then shall not be lost
_LISTEN = ("/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1")


class _StunServer(click.ParamType[Endpoint]):
    """`host`, or `host:port`."""

    name = "server"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Endpoint:
        return parse_server(value) if isinstance(value, str) else value  # type: ignore[return-value]


@click.command("check", cls=Command)
@click.option(
    "--stun",
    type=_StunServer(),
    multiple=True,
    envvar="CARRICK_STUN",
    metavar="HOST[:PORT]",
    help="Ask this STUN server; repeatable. None is built in.",
)
@click.option(
    "--peers",
    "--peer",
    type=TargetType(),
    multiple=True,
    metavar="TARGET",
    help="Ask this peer where it sees us; repeatable, and two of different networks tell most.",
)
@click.option(
    "--relay",
    type=TargetType(),
    multiple=True,
    metavar="TARGET",
    help="Measure the round-trip time to this relay too; repeatable.",
)
@click.option(
    "--port-mapping",
    is_flag=True,
    help="Ask the router too: does it map ports, and is it behind another NAT?",
)
@click.option("--every", type=Duration(), help="Check again and again, so often.")
@node_options
@click.pass_obj
def command(
    settings: Settings,
    stun: tuple[Endpoint, ...],
    peers: tuple[Target, ...],
    relay: tuple[Target, ...],
    port_mapping: bool,
    every: float | None,
    **options: Unpack[NodeOptions],
) -> int:
    """Name the type of NAT that this machine is behind, within 3 s.

    A STUN server with two addresses (RFC 5780) tells everything, several with one, or several
    peers, tell less.
    """
    if not stun and not peers:
        raise click.UsageError(
            "whom to ask? Name a STUN server (--stun HOST) or peers (--peers TARGET); "
            "none are built in"
        )
    for target in (*peers, *relay):
        check_peer_known(target, False)
    builder = make_builder(settings, options) if peers or relay else None
    return trio.run(run, settings, Question(stun, peers, relay, port_mapping), builder, every)


@dataclass(frozen=True, slots=True)
class Question:
    """Whom to ask."""

    stun: Sequence[Endpoint] = ()
    peers: Sequence[Target] = ()
    relays: Sequence[Target] = ()
    port_mapping: bool = False


async def run(
    settings: Settings, question: Question, builder: HostBuilder | None, every: float | None
) -> int:
    """Check, once or again and again; returns the exit code."""
    output = Output(settings, "nat.check")
    while True:
        started = trio.current_time()
        report = await _Check(question, output).run(builder)
        output.result(report.fields(), str(report))
        if every is None:
            return 0 if report.found_something else NOT_FOUND
        await trio.sleep_until(started + every)
        output.note("")


class _Check:
    """One check: what has come when the time is up counts."""

    def __init__(self, question: Question, output: Output) -> None:
        self._question = question
        self._output = output
        self._started = trio.current_time()
        self._servers: list[Endpoint] = list(question.stun)
        self._findings = Findings()
        self._observed: tuple[Sighting, ...] = ()
        self._times: dict[Target, float] = {}
        self._maps: list[str] | None = [] if question.port_mapping else None
        self._gateway: str | None = None

    async def run(self, builder: HostBuilder | None) -> NatReport:
        if builder is None:
            await self._ask(None)
        else:
            async with builder.listen(*_LISTEN).services(Ping).open() as host:
                await self._ask(host)
                self._observed = host.observed.sightings(trio.current_time())
        if not self._findings.addresses:
            own = current_sockets().interface_addresses()
            self._findings.addresses = frozenset(str(each.ip) for each in own)
        self._findings.gateway = self._gateway
        question, times = self._question, self._times
        return NatReport(
            nat_of(self._findings, self._observed),
            address6=self._findings.address6,
            servers=[(_text(each), self._findings.latencies.get(each)) for each in self._servers],
            peers=(len(question.peers), sum(each in times for each in question.peers)),
            relays=[(str(each), times.get(each)) for each in question.relays],
            port_mapping=None if self._maps is None else sorted(self._maps),
            elapsed=trio.current_time() - self._started,
        )

    async def _ask(self, host: Host | None) -> None:
        question = self._question
        with trio.move_on_at(self._started + BUDGET):
            async with trio.open_nursery() as nursery:
                if question.stun:
                    nursery.start_soon(self._ask_servers)
                if question.port_mapping:
                    for via in PROTOCOLS:
                        nursery.start_soon(self._ask_gateway, via)
                if host is not None:
                    for target in dict.fromkeys((*question.peers, *question.relays)):
                        nursery.start_soon(self._ask_peer, host, target)

    async def _ask_servers(self) -> None:
        try:
            self._servers = await resolve_servers(self._question.stun)
        except CarrickError as error:
            self._output.note(error.message)
            return
        left = self._started + BUDGET - trio.current_time() - _MARGIN
        self._findings = await probe(self._servers, timeout=max(0.0, min(TIMEOUT, left)))

    async def _ask_gateway(self, via: str) -> None:
        sockets = current_sockets()
        place = find_place(sockets.interface_addresses(), sockets.default_gateways(), None)
        if place is None:
            return  # no router, or we have its public address
        assert self._maps is not None
        for found in await map_probe(sockets, place, (via,), random.Random()):
            if found.client is not None:
                self._maps.append(via)
                outside = found.external_address
                self._gateway = self._gateway or (None if outside is None else str(outside))

    async def _ask_peer(self, host: Host, target: Target) -> None:
        """Connect, which has it tell where it sees us, and ping it."""
        try:
            connection = await host.connect(target, timeout=BUDGET)
            self._times[target] = await host.service(Ping).ping_once(connection)
        except CarrickError as error:
            self._output.note(f"{target}: {error}")


def _text(server: Endpoint) -> str:
    host, port = server
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
