"""The whole stack, half of it behind NATs: the DHT over streams, Noise, Yamux and simulated TCP.

``python -m benchmarks.kademlia.streams NODES`` prints what was found as JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import trio

from carrick import HostBuilder
from carrick.errors import CarrickError
from carrick.protocols.kademlia import Kademlia, KademliaOptions, Mode
from carrick.sim import Internet, Link, run
from carrick.testing import Node, open_node, seeded_key

_LINK = Link(latency=0.01, jitter=0.004)  # else two nodes dial each other at the same instant
_NATS = ("full-cone", "address-restricted", "port-restricted", "symmetric")
_AT_ONCE = 10  # keys
_SETTLE = 60.0  # s


def play(nodes: int, *, keys: int, seed: int) -> dict[str, Any]:
    """Random nodes place keys, and for each of them another one looks for it.

    Half of the nodes are clients behind NATs of four kinds; half of the keys are values, the other
    half have a provider.
    """
    outcome: dict[str, Any] = {"nodes": nodes, "tried": keys, "worked": 0, "failures": []}

    async def program(internet: Internet) -> None:
        async with AsyncExitStack() as exits:
            everyone = await _opened(internet, nodes, exits)
            limiter = trio.CapacityLimiter(_AT_ONCE)

            async def place_and_find(number: int) -> None:
                publisher, reader = internet.rng.sample(everyone, 2)
                async with limiter:
                    try:
                        place = _provider if number % 2 else _value
                        worked = await place(number, publisher, reader)
                    except CarrickError as error:
                        outcome["failures"].append(f"{number}: {error}")
                    else:
                        outcome["worked"] += worked

            async with trio.open_nursery() as nursery:
                for number in range(keys):
                    nursery.start_soon(place_and_find, number)
            servers = {node.id for node in everyone[: nodes - nodes // 2]}
            outcome["clients_in_tables"] = sum(
                contact.peer not in servers
                for node in everyone
                for contact in _dht(node).networks[0].dht.table
            )

    wall, cpu = time.perf_counter(), time.process_time()
    run(program, seed=seed, access=_LINK, record=False, tick=0.001)
    return {
        **outcome,
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
    }


async def _opened(internet: Internet, count: int, exits: AsyncExitStack) -> list[Node]:
    """Servers first, then as many clients behind NATs; all have found the DHT."""
    nodes: list[Node] = []
    servers = count - count // 2
    for _ in range(servers):
        builder = _member(Mode.SERVER, nodes[:2])
        nodes.append(await exits.enter_async_context(open_node(internet.host(), builder)))
    for nat in itertools.islice(itertools.cycle(_NATS), count - servers):
        home = internet.router(nat=nat).host()
        builder = _member(Mode.CLIENT, internet.rng.sample(nodes[:servers], 2))
        nodes.append(await exits.enter_async_context(open_node(home, builder)))
    for node in nodes:
        await _dht(node).wait_bootstrapped()
    await trio.sleep(_SETTLE)
    return nodes


def _member(mode: Mode, bootstrap: Sequence[Node]) -> HostBuilder:
    addresses = [node.addresses[0] for node in bootstrap]
    options = KademliaOptions.local(mode=mode, bootstrap=addresses, clock=trio.current_time)
    return HostBuilder().transports("tcp").services(Kademlia(options))


def _dht(node: Node) -> Kademlia:
    return node.service(Kademlia)


async def _provider(number: int, publisher: Node, reader: Node) -> bool:
    key = b"\x12\x20" + hashlib.sha256(b"%d" % number).digest()
    await _dht(publisher).provide(key)
    named = await _dht(reader).find_providers(key, count=1)
    return publisher.id in [each.id for each in named]


async def _value(number: int, publisher: Node, reader: Node) -> bool:
    public = seeded_key(reader.host.rng).public_key
    key, value = b"/pk/" + public.peer_id.to_bytes(), public.to_protobuf()
    await _dht(publisher).put_value(key, value)
    return await _dht(reader).get_value(key) == value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nodes", type=int)
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = vars(parser.parse_args())
    json.dump(play(options.pop("nodes"), **options), sys.stdout)
    print()


if __name__ == "__main__":
    main()
