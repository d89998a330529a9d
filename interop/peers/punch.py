"""Hole punching between Carrick and a peer on another library, each behind a router of its own.

    python -m interop.peers.punch go rust --runs 10 [--transport tcp] [--routers pr,pr]

plays in the NAT laboratory (root; see interop/natlab). Exit code 1: a run failed; 77: skipped.
In DCUtR's words, A dials over the relay, B has the reservation there and leads. A run counts if
both sides have a direct connection, over which data goes both ways, also after the relay is gone.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from interop.natlab.lab import LabError
from interop.natlab.lab import unavailable as no_lab
from interop.natlab.node import Description, NodeError
from interop.natlab.stages import PlayedNode
from interop.natlab.stages.kernel import KernelStage, open_kernel_stage
from interop.natlab.topology import Topology
from interop.peers.driven import Driven, Refused, driven, unavailable

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = ["ROLES", "TRANSPORTS", "Punch", "punch", "topology"]

TRANSPORTS = ("tcp", "quic-v1")
ROLES = ("a", "b")
LIBRARIES = ("go", "rust")
SIZE = 20_000  # bytes that go each way
PATIENCE = 50.0  # s for one run
SKIPPED = 77


@dataclass(frozen=True)
class Punch:
    """What came of one run.

    Attributes:
        carrick: "a" or "b".
        problem: why it does not count; None if it does.
        seconds: from the dial over the relay to the direct connection.
        address: where Carrick sees the peer.
    """

    library: str
    transport: str
    carrick: str
    problem: str | None
    seconds: float
    address: str = ""

    def __str__(self) -> str:
        who = f"{self.library} {self.transport}, Carrick is {self.carrick.upper()}"
        what = self.problem or f"direct after {self.seconds:.2f} s at {self.address}"
        return f"{who}: {what}"


def topology(routers: Sequence[str] = ("pr", "pr")) -> Topology:
    made = Topology()
    made.public("relay")
    for name, kind in zip(("carrick", "other"), routers, strict=True):
        made.place(name, kind)
    return made


async def punch(stage: KernelStage, library: str, transport: str, carrick: str) -> Punch:
    """One run, all nodes fresh, on a ``topology``."""
    async with _Play(stage, library, transport).cast() as play:
        started = trio.current_time()
        try:
            with trio.fail_after(PATIENCE):
                seconds, address = await (
                    play.carrick_dials if carrick == "a" else play.they_dial
                )()
            return Punch(library, transport, carrick, None, seconds, address)
        except (Refused, NodeError, LabError, trio.TooSlowError, _Wrong) as error:
            problem = f"{type(error).__name__}: {error}"
            return Punch(library, transport, carrick, problem, trio.current_time() - started)


class _Wrong(Exception):
    """Something is not as it should be."""


class _Play:
    def __init__(self, stage: KernelStage, library: str, transport: str) -> None:
        self.stage = stage
        self.library = library
        self.transport = transport
        self.relay: PlayedNode
        self.carrick: PlayedNode
        self.other: Driven
        self._relay_scope = trio.CancelScope()

    @asynccontextmanager
    async def cast(self) -> AsyncIterator[_Play]:
        await self.stage.forget()
        own = ("quic",) if self.transport == "quic-v1" else ("tcp",)
        natted = Description(transports=own, services=("client", "dcutr"))
        lab, transport = self.stage.lab, self.transport
        async with (
            trio.open_nursery() as nursery,
            self.stage.node("carrick", natted) as self.carrick,
            driven(
                self.library, "relay", "dcutr", transport=transport, lab=lab, place="other"
            ) as self.other,
        ):
            await nursery.start(self._run_relay, Description(transports=own, services=("relay",)))
            yield self
            nursery.cancel_scope.cancel()

    async def _run_relay(self, description: Description, *, task_status: TaskStatus[None]) -> None:
        with self._relay_scope:
            async with self.stage.node("relay", description) as self.relay:
                task_status.started()
                await trio.sleep_forever()

    async def carrick_dials(self) -> tuple[float, str]:
        (relay,) = self.relay.addresses
        await self.other.ask("reserve", address=relay)
        await self.carrick.do("dial", addresses=[relay])
        where = f"{relay}/p2p-circuit/p2p/{self.other.id}"
        started = trio.current_time()
        told = await self.carrick.do("connect", addresses=[where], direct=True)
        if told["error"]:
            raise _Wrong(f"{told['message']} ({told['outcome']}, {told['trace']})")
        seconds = trio.current_time() - started
        return seconds, await self._check()

    async def they_dial(self) -> tuple[float, str]:
        (relay,) = self.relay.addresses
        (where,) = await self.carrick.do("reserve", relay=[relay])
        await self.other.ask("connect", address=relay)
        started = trio.current_time()
        await self.other.ask("connect", address=where)
        await self.other.ask("direct", peer=self.carrick.id)
        seconds = trio.current_time() - started
        return seconds, await self._check()

    async def _check(self) -> str:
        """Direct on both sides, and used; where Carrick sees the peer."""
        await self.other.ask("direct", peer=self.carrick.id)
        paths = await self.carrick.do("paths", peer=self.other.id, direct_within=5)
        direct = [path for path in paths if not path["relayed"]]
        if not direct:
            raise _Wrong("Carrick has no direct connection")
        sent = await self.carrick.do("transfer", peer=self.other.id, size=SIZE)
        if not sent["intact"] or sent["relayed"]:
            raise _Wrong(f"Carrick's data: {sent}")
        self._relay_scope.cancel()
        await self.carrick.do("ping", peer=self.other.id)
        await self._echo_without_relay()
        address: str = direct[0]["address"]
        return address

    async def _echo_without_relay(self) -> None:
        """A library may still have a stream to the relayed connection when that is ending."""
        for patience in (0.2, 0.5, 1.0, None):
            try:
                await self.other.ask("echo", peer=self.carrick.id, size=SIZE)
            except Refused:
                if patience is None:
                    raise
                await trio.sleep(patience)
            else:
                return


# --- the command ----------------------------------------------------------------------------------


async def _main(args: argparse.Namespace) -> int:
    played = itertools.product(
        args.libraries, args.transport or TRANSPORTS, args.role or ROLES, range(args.runs)
    )
    results = []
    made = topology(args.routers.split(","))
    async with open_kernel_stage(made) as stage, stage.delay(args.delay):
        for library, transport, role, _ in played:
            results.append(await punch(stage, library, transport, role))
            print(results[-1], flush=True)
    failed = sum(result.problem is not None for result in results)
    print(f"{len(results) - failed} of {len(results)} direct")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m interop.peers.punch")
    parser.add_argument("libraries", nargs="*", choices=LIBRARIES, default=LIBRARIES)
    parser.add_argument("--runs", type=int, default=1, help="of each transport and role")
    parser.add_argument("--transport", action="append", choices=TRANSPORTS)
    parser.add_argument("--role", action="append", choices=ROLES, help="Carrick's")
    parser.add_argument("--routers", default="pr,pr", help="Carrick's and the other's")
    parser.add_argument("--delay", type=int, default=40, help="ms, one way across the internet")
    args = parser.parse_args()
    if (missing := no_lab() or unavailable(*args.libraries)) is not None:
        print(f"skipped: {missing}", file=sys.stderr)
        return SKIPPED
    return trio.run(_main, args)


if __name__ == "__main__":
    sys.exit(main())
