"""AutoNAT v1 and v2 with go, rust and js, through the kernel's NATs: who is reachable, and who not.

Everybody is as they come: no private addresses, and Carrick's usual confidence in three servers.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

import pytest
import trio

from interop.natlab.lab import unavailable as no_lab
from interop.natlab.node import Description
from interop.natlab.stages import PlayedNode
from interop.natlab.stages.kernel import KernelStage, open_kernel_stage
from interop.natlab.topology import Topology
from interop.peers.driven import Driven, driven, unavailable

if (missing := no_lab()) is not None:
    pytestmark = pytest.mark.skip(reason=f"NO AUTONAT WITH OTHERS IS TESTED: {missing}")

WITHIN = 30  # s; CAPABILITIES B6

# A host behind each, and whether strangers reach it.
PLACES = {"open": True, "pr": False, "fc": True}
SERVERS = ("s1", "s2", "s3")


def need(*names: str) -> None:
    if (missing := unavailable(*names)) is not None:
        warnings.warn(f"NO AUTONAT TEST WITH {', '.join(names)}: {missing}", stacklevel=1)
        pytest.skip(missing)


def topology() -> Topology:
    made = Topology()
    for server in SERVERS:
        made.public(server)
    for kind in PLACES:
        made.place(kind, kind)
    return made


def outside(stage: KernelStage, kind: str) -> str:
    """The IP address at which others see the host behind that kind."""
    node = stage.topology.nodes[kind]
    return node.address if node.router is None else node.router.address


# --- Carrick asks ---------------------------------------------------------------------------------


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("name", "part", "transport"),
    [
        ("go", "autonat-v2", "tcp"),
        ("go", "autonat-v2", "quic-v1"),
        ("go", "autonat-v1", "tcp"),
        ("rust", "autonat-v2", "tcp"),
        ("rust", "autonat-v2", "quic-v1"),
        ("rust", "autonat-v1", "tcp"),
        ("js", "autonat-v2", "tcp"),
    ],
)
async def test_their_verdict_about_carrick(name: str, part: str, transport: str) -> None:
    need(name)
    own = "quic" if transport == "quic-v1" else transport
    description = Description(transports=(own,), services=("autonat",))
    async with open_kernel_stage(topology()) as stage, AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(
                driven(name, part, transport=transport, lab=stage.lab, place=server)
            )
            for server in SERVERS
        ]
        nodes = {
            kind: await stack.enter_async_context(stage.node(kind, description)) for kind in PLACES
        }
        verdicts = await at_once(nodes, servers)
    for kind, reachable in PLACES.items():
        verdict = dict(verdicts[kind])
        assert verdict.pop("") == ("public" if reachable else "private"), (kind, verdicts)
        if part == "autonat-v2":
            at = f"/ip4/{outside(stage, kind)}/"
            judged = {said for address, said in verdict.items() if address.startswith(at)}
            assert judged == {"public" if reachable else "private"}, (kind, verdicts)


async def at_once(
    nodes: Mapping[str, PlayedNode], servers: Sequence[Driven]
) -> dict[str, dict[str, str]]:
    """Connect every node with every server, and wait for their verdicts."""
    verdicts = {}

    async def find_out(kind: str, node: PlayedNode) -> None:
        for server in servers:
            await node.do("dial", addresses=[server.address])
        verdicts[kind] = await node.do("verdict", within=WITHIN)

    async with trio.open_nursery() as nursery:
        for kind, node in nodes.items():
            nursery.start_soon(find_out, kind, node)
    return verdicts


# --- Carrick answers ------------------------------------------------------------------------------


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("name", "version", "transport"),
    [
        ("go", 2, "tcp"),
        ("go", 2, "quic-v1"),
        ("go", 1, "tcp"),
        ("rust", 2, "tcp"),
        ("rust", 2, "quic-v1"),
        ("rust", 1, "tcp"),
        # v1 of js takes the connection that is there for the dial it is asked for, and closes it.
        ("js", 2, "tcp"),
    ],
)
async def test_carricks_verdict_about_them(name: str, version: int, transport: str) -> None:
    need(name)
    description = Description(transports=("quic", "tcp"), services=("autonat",))
    async with open_kernel_stage(topology()) as stage, stage.node("s1", description) as carrick:
        found = {}

        async def ask(kind: str) -> None:
            found[kind] = await _ask(stage, kind, carrick, name, version, transport)

        async with trio.open_nursery() as nursery:
            for kind in PLACES:
                # js sends from a new port each time, so that its listening port is mapped nowhere,
                # and does not say what it has not confirmed.
                if name != "js" or kind == "open":
                    nursery.start_soon(ask, kind)
        assert found == {kind: PLACES[kind] for kind in found}


async def _ask(
    stage: KernelStage, kind: str, carrick: PlayedNode, name: str, version: int, transport: str
) -> bool:
    part = f"autonat-v{version}"
    peer = driven(name, part, transport=transport, lab=stage.lab, place=kind)
    async with peer as peer:
        stack = "quic-v1" if transport == "quic-v1" else "tcp"
        (server,) = (address for address in carrick.addresses if f"/{stack}" in address)
        await peer.ask("connect", address=server)
        # The routers keep ports, so that this is where it listens, seen from outside.
        inside = peer.address.partition("/p2p/")[0]
        there = f"/ip4/{outside(stage, kind)}/{inside.split('/', 3)[3]}"
        answer = await peer.ask("reachable", peer=carrick.id, version=version, address=there)
    reachable: bool = answer["reachable"]
    return reachable
