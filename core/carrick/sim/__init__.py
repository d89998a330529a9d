"""A simulated internet: hosts, LANs, NATs, links and names, in one process and in virtual time.

It offers sockets and a clock, and knows no libp2p. Sockets come in two forms: those of
`host.sockets`, which have the calls of `carrick.interfaces.SocketOpener`, and trio's own, for code
that runs within `host.enter()` or by `host.run`.

    async def main(internet):
        server = internet.host("server")
        home = internet.router("home", nat="symmetric")
        alice = home.host("alice")
        ...

    carrick.sim.run(main, seed=1)
"""

from carrick.sim.capture import pcapng
from carrick.sim.diagram import Note, html_page, sequence_diagram
from carrick.sim.host import Host, current_host
from carrick.sim.internet import Internet
from carrick.sim.link import Link
from carrick.sim.nat import Dependence, NatBehaviour, Ports, PortTaken, Unsolicited
from carrick.sim.network import Interface, Network
from carrick.sim.presets import PRESETS
from carrick.sim.router import Router
from carrick.sim.running import (
    Deadlock,
    ThreadStarted,
    fix_hash_seed,
    hash_seed_is_fixed,
    open_internet,
    run,
)
from carrick.sim.trace import Entry

__all__ = [
    "PRESETS",
    "Deadlock",
    "Dependence",
    "Entry",
    "Host",
    "Interface",
    "Internet",
    "Link",
    "NatBehaviour",
    "Network",
    "Note",
    "PortTaken",
    "Ports",
    "Router",
    "ThreadStarted",
    "Unsolicited",
    "current_host",
    "fix_hash_seed",
    "hash_seed_is_fixed",
    "html_page",
    "open_internet",
    "pcapng",
    "run",
    "sequence_diagram",
]
