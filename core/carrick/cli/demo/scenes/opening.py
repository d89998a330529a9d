"""The curtain rises: who is there."""

from __future__ import annotations

from carrick import HostBuilder
from carrick.cli.demo.scenes.contact import notice_board
from carrick.cli.demo.scenes.request import PROTOCOL, serve
from carrick.cli.demo.stage import BOTH, QUIC, TCP, Person, Stage
from carrick.protocols.perf import Perf
from carrick.testing import PORT

__all__ = ["TITLE", "play"]

TITLE = "An internet"

# Name → where it listens, and how far away it is, in times the latency that is asked for.
_PUBLIC = {
    "bootstrap": (BOTH, 1.0),
    "relay": (BOTH, 1.1),
    "tokyo": ((QUIC,), 4.0),
    "quito": ((TCP,), 3.0),
    "oslo": ((QUIC,), 1.5),
    "accra": ((TCP,), 2.5),
    "stranger": (BOTH, 2.0),
}
_HOMES = {"Ana": 1.0, "Ben": 1.25}


async def play(stage: Stage) -> None:
    """The public nodes start, then two people at home."""
    internet = stage.internet
    for name, (listen, distance) in _PUBLIC.items():
        builder = HostBuilder()
        if name == "bootstrap":
            builder = notice_board(builder)
        stage.public[name] = await stage.open(
            internet.host(name, link=stage.line(distance)), builder, listen
        )
    bootstrap = stage.public["bootstrap"]
    internet.dns.add(
        "_dnsaddr.bootstrap.example",
        "TXT",
        *(f"dnsaddr={address}" for address in bootstrap.addresses),
    )
    stage.timeline.say(
        "everybody",
        f"{len(_PUBLIC)} public nodes run: {', '.join(_PUBLIC)}; names are served by DNS",
    )
    stage.ana = await _at_home(stage, "Ana", stage.facts["nat_a"])
    stage.ben = await _at_home(stage, "Ben", stage.facts["nat_b"])


async def _at_home(stage: Stage, name: str, nat: str) -> Person:
    router = stage.internet.router(f"{name}'s router", nat, link=stage.line(_HOMES[name]))
    builder = HostBuilder().services(Perf).handle(PROTOCOL, serve)
    node = await stage.open(router.host(name), builder)
    person = Person(name, nat, router, node)
    stage.say(
        person,
        f"is {node.id.short()}, at {node.machine.address} port {PORT}, behind a router of the kind "
        f"“{nat}” at {router.external_address}",
    )
    return person
