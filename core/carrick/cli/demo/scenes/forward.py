"""Ben forwards his port by hand, as people do. (UPnP, NAT-PMP and PCP will do it for him.)"""

from __future__ import annotations

import trio

from carrick.cli.demo.scenes.dial import dial_ben
from carrick.cli.demo.stage import Person, Stage, end_of
from carrick.sim import PortTaken
from carrick.testing import PORT

__all__ = ["TITLE", "play"]

TITLE = "Ben forwards a port on his router"

# A failed address is left alone for a while; so long Ben needs to find that page of his router.
MINUTES = 2


async def play(stage: Stage) -> None:
    """Then Ana dials again."""
    if stage.link is not None:
        stage.say(stage.ben, "does not need to: they are connected")
        return
    ben, started = stage.ben, stage.internet.time()
    await trio.sleep(MINUTES * 60)
    opened = []
    for transport, family in (("tcp", "tcp"), ("quic-v1", "udp")):
        port = forward(ben, family, _port(ben, transport))
        stage.facts.setdefault("forwarded", {})[family] = port
        suffix = "/quic-v1" if family == "udp" else ""
        host = ben.router.external_address if ben.behind_nat else ben.machine.address
        opened.append(f"/ip4/{host}/{family}/{port}{suffix}/p2p/{ben.node.id}")
    ports = [f"{family.upper()} port {port}" for family, port in stage.facts["forwarded"].items()]
    stage.say(ben, f"let his router forward {' and '.join(ports)} to him", since=started)
    known = stage.facts["addresses_of_ben"]
    stage.facts["addresses_of_ben"] = list(dict.fromkeys([*known, *opened]))
    await dial_ben(stage)


def forward(person: Person, family: str, port: int) -> int:
    """Map `port`, or any if it is taken."""
    inside = (person.machine.address, PORT)
    try:
        return person.router.map_port(family, port, inside)
    except PortTaken:
        return person.router.map_port(family, 0, inside)


def _port(person: Person, transport: str) -> int:
    """The port at which the others saw this person, if they agree."""
    views = {end_of(address)[1] for address in person.seen.get(transport, {}).values()}
    return views.pop() if len(views) == 1 else PORT
