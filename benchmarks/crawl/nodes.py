"""``python -m benchmarks.crawl.nodes COUNT SEED``: servers of a DHT on loopback, in one process.

Lines of JSON on stdout: where the nodes are; then, as an answer to a line on stdin that names all
nodes of all processes, whom each has in its table. The end of stdin ends it.

Tables are filled at once, as lookups would fill them in the end: whoever comes, in random order,
until the bucket is full. How they came to be filled makes no difference to who reads them.
"""

from __future__ import annotations

import json
import random
import sys
from contextlib import AsyncExitStack

import trio

from carrick import Host, HostBuilder, PeerId
from carrick.addressing import parse_address
from carrick.protocols.kademlia import Kademlia, KademliaOptions, Mode
from carrick.testing import seeded_key


async def main(count: int, seed: int) -> None:
    rng = random.Random(seed)
    async with AsyncExitStack() as opened:
        hosts = [
            await opened.enter_async_context(
                HostBuilder()
                .identity(seeded_key(rng))
                .seed(rng.getrandbits(64))
                .transports("tcp")
                .listen("/ip4/127.0.0.1/tcp/0")
                .services(Kademlia(KademliaOptions.local(mode=Mode.SERVER)))
                .open()
            )
            for _ in range(count)
        ]
        _say([[str(host.id), str(host.swarm.listen_addresses[0])] for host in hosts])
        everybody = [
            (PeerId.parse(peer), address)
            for peer, address in json.loads(await trio.to_thread.run_sync(sys.stdin.readline))
        ]
        _say({str(host.id): _fill(host, everybody, rng) for host in hosts})
        await trio.to_thread.run_sync(sys.stdin.read)


def _fill(host: Host, everybody: list[tuple[PeerId, str]], rng: random.Random) -> list[str]:
    """Fill the host's table; returns whom it has then."""
    table = host.service(Kademlia).networks[0].dht.table
    now = trio.current_time()
    for peer, address in rng.sample(everybody, len(everybody)):
        if peer != host.id and table.answered(peer, (), now):
            host.peerstore.add_addresses(peer, [parse_address(address)], 86400.0)
    return [str(contact.peer) for contact in table]


def _say(what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), int(sys.argv[2]))
