"""What the tests with UDP and with TCP have in common."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import trio

from carrick.addressing import ip_reach
from carrick.errors import CarrickError
from carrick.interfaces import Endpoint
from carrick.protocols.nat.delta import SAMPLES
from carrick.protocols.nat.evidence import Binding, Evidence, Findings, PortPair
from carrick.protocols.stun import Answer, StunClient

__all__ = [
    "ANY",
    "FIRST",
    "GRACE",
    "PORTS",
    "RTO",
    "SILENCE",
    "Probe",
    "if_it_works",
    "in_order",
    "is_beside",
    "is_second",
]

RTO = 0.25  # s; sent again at 0.25 s and 0.75 s, that is three times before silence is believed
FIRST = 1.2  # s until the first answer
GRACE = 0.25  # s for the other servers after the first
SILENCE = 1.1  # s that an answer which may be filtered has
ANY = "0.0.0.0"
PORTS = range(32768, 60999)  # where other programs' sockets are too: Linux's ip_local_port_range

_FAILURES = (CarrickError, OSError)


class Probe:
    """The tests with one of UDP and TCP.

    Args:
        servers: whom to ask.
        turn: held by whoever makes new mappings, whose order matters.
    """

    def __init__(
        self,
        client: StunClient,
        findings: Findings,
        evidence: Evidence,
        servers: Sequence[Endpoint],
        turn: trio.Lock,
        rng: random.Random,
    ) -> None:
        self.client = client
        self.findings = findings
        self.evidence = evidence
        self.servers = servers
        self.turn = turn
        self.rng = rng
        self.others: dict[Endpoint, Endpoint] = {}
        """The other address and port of servers that told it."""
        self.answers: list[Answer] = []
        self.changed = trio.Event()

    def saw(self, answer: Answer) -> None:
        binding = Binding(answer.local, answer.server, answer.mapped)
        self.evidence.bindings.append(binding)

    def first(self, answer: Answer) -> None:
        """One of the servers answered."""
        self.saw(answer)
        self.answers.append(answer)
        self.findings.latencies.setdefault(answer.server, answer.rtt)
        if answer.other is not None and is_second(answer.other, answer.server):
            self.others.setdefault(answer.server, answer.other)
        self.changed.set()
        self.changed = trio.Event()

    async def leader(self) -> Answer | None:
        """Wait for answers; the one that the further tests build on."""
        for patience, enough in ((FIRST, 1), (GRACE, len(self.servers))):
            with trio.move_on_after(patience):
                while len(self.answers) < enough:
                    await self.changed.wait()
            if not self.answers:
                return None
        rich = [each for each in self.answers if each.server in self.others]
        return (rich or self.answers)[0]

    def further(self, leader: Answer) -> list[Endpoint]:
        """Its other port, its other address, and both (RFC 5780 section 4.3)."""
        other = self.others.get(leader.server)
        if other is None:
            return []
        ip, port = leader.server
        return [(other[0], port), other, (ip, other[1])]

    def scattered_ports(self) -> list[int]:
        return self.rng.sample(PORTS, SAMPLES)

    def consecutive_ports(self) -> list[int]:
        start = self.rng.choice(PORTS[:-SAMPLES])
        return list(range(start, start + SAMPLES))

    async def in_turn(self, nursery: trio.Nursery, function: Callable[[], Awaitable[Any]]) -> None:
        """Start something whose first step makes a mapping, before anybody else makes one."""
        async with self.turn:
            nursery.start_soon(if_it_works, function)
            await trio.lowlevel.checkpoint()


async def if_it_works(function: Callable[[], Awaitable[Any]]) -> None:
    """A test that fails has found nothing."""
    try:
        await function()
    except* _FAILURES:
        pass


def in_order(numbers: Iterable[int], seen: dict[int, int]) -> list[PortPair]:
    return [(number, seen[number]) for number in numbers if number in seen]


def is_second(other: Endpoint, server: Endpoint) -> bool:
    """Whether `other` can be the other address and port of `server`: both differ, or they would
    show nothing."""
    return other[0] != server[0] and other[1] != server[1] and is_beside(other, server)


def is_beside(end: Endpoint, server: Endpoint) -> bool:
    """Whether `server` may send us to `end`: a public one only to the internet, so that nobody has
    us knock at doors inside our own network."""
    one, two = (ipaddress.ip_address(each[0]) for each in (end, server))
    return one.version == two.version and ip_reach(one) is ip_reach(two)
