"""The demonstration: two nodes on this machine meet, prove who they are, and talk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import trio
from rich import box
from rich.console import Console
from rich.table import Table

from carrick import Connection, Host, HostBuilder
from carrick.cli.options import Settings
from carrick.cli.output import Output, human_bytes, human_rate, human_time, milliseconds
from carrick.cli.peers import Reached, reach, short_protocol
from carrick.cli.progress import progress_bar
from carrick.network.events import ConnectionOpened
from carrick.protocols.identify import Identify, Info
from carrick.protocols.perf import Perf
from carrick.protocols.ping import Ping

__all__ = ["DEFAULT_SIZE", "show"]

DEFAULT_SIZE = 64 << 20  # bytes
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


async def show(settings: Settings, size: int) -> None:
    """Run the demonstration: steps as they happen, then a table; or one JSON object."""
    output = Output(settings, "demo")
    console = Console(quiet=not output.for_people or settings.quiet, highlight=False)
    console.print("[bold]Two nodes on this machine, over real TCP[/bold]\n")
    listener = HostBuilder().listen("/ip4/127.0.0.1/tcp/0").services(Perf())
    dialer = HostBuilder().services(Perf())
    async with listener.open() as alice:
        _step(console, "listen", f"Alice on {alice.swarm.listen_addresses[0]}")
        with alice.events.subscribe(ConnectionOpened) as arrivals:
            async with reach(dialer, alice.addresses[0], settings.timeout) as bob:
                with trio.fail_after(settings.timeout):
                    back = (await anext(arrivals)).connection
                findings = await _talk(console, alice, bob, back, size)
                console.print()
                console.print(_table(findings))
                output.result(_fields(findings), None)


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
    return _Findings(alice, bob, alice_says, bob_says, pings, size, result.upload_s)


def _step(console: Console, what: str, came_of_it: str) -> None:
    console.print(f"[cyan]{what:10}[/cyan]{came_of_it}", soft_wrap=True)


def _table(found: _Findings) -> Table:
    connection = found.bob.connection
    table = Table(box=box.ROUNDED, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("Alice", str(found.alice.id))
    table.add_row("  listens on", str(found.alice.swarm.listen_addresses[0]))
    table.add_row("  is seen at", str(found.bob_says.observed_address))
    table.add_row("Bob", str(found.bob.host.id))
    table.add_row("  is seen at", str(found.alice_says.observed_address))
    table.add_section()
    table.add_row("transport", str(connection.transport))
    table.add_row("security", connection.security)
    table.add_row("muxer", connection.muxer)
    table.add_row("protocols", "\n".join(sorted(found.alice_says.protocols)))
    table.add_section()
    table.add_row("handshake", human_time(found.bob.connect_time))
    table.add_row("ping", f"{human_time(min(found.pings))} at best, of {len(found.pings)}")
    table.add_row("transfer", _transfer(found))
    return table


def _transfer(found: _Findings) -> str:
    size, rate = human_bytes(found.size), human_rate(found.size / found.time)
    return f"{size} in {human_time(found.time)}, {rate}"


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
