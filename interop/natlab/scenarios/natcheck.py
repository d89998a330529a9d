"""`carrick nat check` behind each type of router, with coturn as the STUN server (B7)."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

from interop.natlab.lab import Lab, open_lab
from interop.natlab.stages.kernel import environment
from interop.natlab.topology import Node, Topology

CARRICK = (sys.executable, "-m", "carrick", "--json")
LIMIT = 3.0  # s
SERVER = "turnserver"  # coturn's program

_INDEPENDENT = "endpoint-independent"
_BY_ADDRESS = "address-dependent"
_BY_BOTH = "address-and-port-dependent"
EXPECTED: dict[str, dict[str, Any]] = {
    kind: {"type": name, "mapping": mapping, "filtering": filtering, "delta": delta}
    for kind, name, mapping, filtering, delta in (
        ("open", "open", _INDEPENDENT, _INDEPENDENT, "equal"),
        ("fc", "full cone", _INDEPENDENT, _INDEPENDENT, "equal"),
        ("ar", "restricted cone", _INDEPENDENT, _BY_ADDRESS, "equal"),
        ("pr", "port restricted cone", _INDEPENDENT, _BY_BOTH, "equal"),
        ("sym", "symmetric", _BY_BOTH, _BY_BOTH, "random"),
        ("symseq1", "symmetric", _BY_BOTH, _BY_BOTH, "independent"),
        ("symseq", "symmetric", _BY_BOTH, _BY_BOTH, "independent"),
        ("pr-udp-blocked", "udp blocked", "unknown", "unknown", "unknown"),
    )
}
"""RFC 3489's name, RFC 4787's words, and how ports follow (B8); of UDP."""

_CONFIGURATION = """\
listening-ip={0}
listening-ip={1}
relay-ip={0}
listening-port=3478
alt-listening-port=3479
no-auth
no-tls
no-dtls
no-cli
rfc5780
log-file=stdout
simple-log
pidfile=/run/turn.pid
userdb=/run/turn.db
"""


@dataclass(frozen=True)
class Checked:
    """One run of the command, and what it printed."""

    kind: str
    found: dict[str, Any]

    @property
    def seconds(self) -> float:
        """That the check took, without the start of Python."""
        return float(self.found["elapsed_ms"]) / 1000

    def wrong(self) -> Iterator[str]:
        """What is not as it should be, in words."""
        for word, expected in EXPECTED[self.kind].items():
            found = self.found["type"] if word == "type" else self.found["udp"][word]
            if found != expected:
                yield f"{self.kind}: {word} {found}, expected {expected}"
        if self.seconds > LIMIT:
            yield f"{self.kind}: {self.seconds:.1f} s"


def unavailable() -> str | None:
    """Why this cannot be played, beside the laboratory's own needs."""
    return None if shutil.which(SERVER) else "coturn is not installed"


async def play(
    kinds: Sequence[str] = tuple(EXPECTED), *, runs: int = 1, delay: int = 10
) -> list[Checked]:
    """*delay* in ms, of each access link and direction. Raises ``LabError``."""
    topology = Topology()
    server = topology.public("stun", addresses=2)
    hosts = {kind: topology.place(f"h{number}", kind) for number, kind in enumerate(kinds)}
    outer = [node.name for node in topology.nodes.values() if node.router is None]
    checked: list[Checked] = []
    alone = trio.Lock()  # one at a time: what takes long shall not be the other programs' fault

    async def check(lab: Lab, kind: str) -> None:
        for _ in range(runs):
            async with alone:
                argv = [*CARRICK, "nat", "check", "--stun", f"{server.address}:3478"]
                result = await lab.run(hosts[kind].name, argv, env=environment(), check=False)
            checked.append(Checked(kind, json.loads(result.stdout)))

    async with (
        open_lab(topology) as lab,
        lab.delay(dict.fromkeys(outer, delay)),
        coturn(lab, server),
        trio.open_nursery() as nursery,
    ):
        for kind in kinds:
            nursery.start_soon(check, lab, kind)
    return checked


@asynccontextmanager
async def coturn(lab: Lab, server: Node) -> AsyncIterator[None]:
    """For the block: a STUN server of RFC 5780 on a public host with two addresses."""
    write = ["sh", "-c", "cat > /run/turn.conf"]
    await lab.run(server.name, write, stdin=_CONFIGURATION.format(*server.outside))
    # It complains of protocols that the kernel has not.
    program = ["sh", "-c", f"exec {SERVER} -c /run/turn.conf 2>/dev/null"]
    async with lab.process(server.name, program):
        with trio.fail_after(10):
            while not await _listening(lab, server):
                await trio.sleep(0.1)
        yield


async def _listening(lab: Lab, server: Node) -> str:
    """Of the server's sockets, those of its last endpoint."""
    result = await lab.run(server.name, ["ss", "-Hlnut", f"src {server.outside[-1]}:3479"])
    return result.stdout.decode()
