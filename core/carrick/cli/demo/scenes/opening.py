"""The curtain rises: who is there."""

from __future__ import annotations

from carrick import HostBuilder
from carrick.cli.demo.scenes.contact import notice_board
from carrick.cli.demo.stage import Stage
from carrick.protocols.relay import RelayService
from carrick.testing import PORT, on_machine
from carrick.testing.stun import PORTS, serve_stun

__all__ = ["TITLE", "play"]

TITLE = "An internet, and two people at home"

# How far away they are, in times the latency that is asked for.
_PUBLIC = {"bootstrap": 1.0, "relay": 1.1, "tokyo": 4.0, "quito": 3.0, "oslo": 1.5}
_STUN = 1.2
_HOMES = {"Ana": 1.0, "Ben": 1.25}


async def play(stage: Stage) -> None:
    """The public nodes start, then Ana and Ben."""
    internet = stage.internet
    for name, distance in _PUBLIC.items():
        builder = HostBuilder()
        if name == "bootstrap":
            builder = notice_board(builder)
        if name == "relay":
            builder = builder.services(RelayService)
        stage.public[name] = await stage.open(
            internet.host(name, link=stage.line(distance)), builder
        )
    bootstrap = stage.public["bootstrap"]
    internet.dns.add(
        "_dnsaddr.bootstrap.example",
        "TXT",
        *(f"dnsaddr={address}" for address in bootstrap.addresses),
    )
    await _serve_stun(stage)
    stage.timeline.say(
        "everybody",
        f"{len(_PUBLIC)} public nodes run: {', '.join(_PUBLIC)}; there are a name server (DNS) "
        "and a server that tells who asks where it sees them (STUN)",
    )
    nats = (stage.facts["nat_a"], stage.facts["nat_b"])
    for (name, distance), nat in zip(_HOMES.items(), nats, strict=True):
        person = await stage.enter(name, nat, distance=distance)
        stage.say(
            person,
            f"is {person.node.id.short()}, at {person.machine.address} port {PORT} at home, "
            f"behind a router of the kind “{nat}”, {person.outside} outside",
        )


async def _serve_stun(stage: Stage) -> None:
    """With a second address, as RFC 5780 has it: it shows what a NAT lets in."""
    machine = stage.internet.host("STUN server", link=stage.line(_STUN))
    second = stage.internet.core.free_address(4)
    machine.interface.add_address(second)
    with on_machine(machine):
        await stage.nursery.start(serve_stun, (machine.address, second))
    stage.stun = f"{machine.address}:{PORTS[0]}"
