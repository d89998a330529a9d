"""The last act: two nodes on this machine meet over real TCP, and transfer as fast as they can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import trio
from rich.console import Console

from carrick import Connection, Host, HostBuilder
from carrick.cli.output import human_bytes, human_time, milliseconds
from carrick.cli.peers import Reached, reach, short_protocol
from carrick.cli.progress import progress_bar
from carrick.network.events import ConnectionOpened
from carrick.protocols.identify import Identify, Info
from carrick.protocols.perf import Perf
from carrick.protocols.ping import Ping

__all__ = ["show"]

PINGS = 5


@dataclass(frozen=True)
class _Findings:
    """What came of it. Alice listens, Bob dials."""

    alice: Host
    bob: Reached
    alice_says: Info
    bob_says: Info
    pings: list[float]
    size: int
    time: float


async def show(console: Console, size: int, timeout: float) -> dict[str, Any]:
    """Play it: steps as they happen; returns what `--json` prints.

    Raises:
        ListenError, DialError, PeerTimeout: as for any node.
    """
    listener = HostBuilder().listen("/ip4/127.0.0.1/tcp/0").services(Perf())
    dialer = HostBuilder().services(Perf())
    async with listener.open() as alice:
        with alice.events.subscribe(ConnectionOpened) as arrivals:
            async with reach(dialer, alice.addresses[0], timeout) as bob:
                with trio.fail_after(timeout):
                    back = (await anext(arrivals)).connection
                findings = await _talk(console, alice, bob, back, size)
                return _fields(findings)


async def _talk(
    console: Console, alice: Host, bob: Reached, back: Connection, size: int
) -> _Findings:
    """Everything that the two do once they are connected; `back` is Alice's end of it."""
    connection = bob.connection
    _step(
        console,
        "connect",
        f"Bob, in {human_time(bob.connect_time)}: {short_protocol(connection.security)} proved "
        f"both identities, {short_protocol(connection.muxer)} carries the streams",
    )
    alice_says = await bob.host.service(Identify).identify(connection)
    bob_says = await alice.service(Identify).identify(back)
    _step(
        console,
        "identify",
        f"Alice is {alice_says.agent_version} and speaks {len(alice_says.protocols)} protocols",
    )
    service = bob.host.service(Ping)
    pings = [time async for time in service.ping(connection, count=PINGS, interval=0.1)]
    _step(console, "ping", ", ".join(map(human_time, pings)))
    perf = bob.host.service(Perf)
    with progress_bar(console, f"[cyan]{'transfer':9}[/cyan]", size) as progress:
        result = await perf.measure(
            connection, upload=size, progress=lambda sent, received: progress(sent)
        )
    rate = f"{size / result.upload_s / 1e6:.0f} MB/s"
    _step(console, "done", f"{human_bytes(size)} in {human_time(result.upload_s)}, {rate}")
    return _Findings(alice, bob, alice_says, bob_says, pings, size, result.upload_s)


def _step(console: Console, what: str, came_of_it: str) -> None:
    console.print(f"[cyan]{what:10}[/cyan]{came_of_it}", soft_wrap=True)


def _fields(found: _Findings) -> dict[str, Any]:
    return {
        "alice": {
            "id": found.alice.id,
            "addresses": found.alice.addresses,
            "agent_version": found.alice_says.agent_version,
            "protocols": sorted(found.alice_says.protocols),
            "observed_addr": found.bob_says.observed_address,
        },
        "bob": {
            "id": found.bob.host.id,
            "agent_version": found.bob_says.agent_version,
            "observed_addr": found.alice_says.observed_address,
        },
        "connection": found.bob.fields(),
        "rtt_ms": [milliseconds(time) for time in found.pings],
        "upload_bytes": found.size,
        "upload_ms": milliseconds(found.time),
        "upload_bits_per_second": round(found.size * 8 / found.time),
    }
