"""The transport suites: one side of a ping. ``python -m interop.apps.transport``."""

from __future__ import annotations

import json
import sys

import trio

from carrick.peerstore import Ttl
from carrick.protocols.ping import Ping, PingOptions
from interop.apps.environment import Dialect, Settings, parse
from interop.apps.node import main, make_builder, peer_of, published, wait_for_end
from interop.apps.resp import Redis

__all__ = ["report", "run"]


def report(dialect: Dialect, handshake_ms: float, ping_ms: float) -> str:
    """The result as the suite reads it; `handshake_ms` is up to the end of the first ping."""
    if dialect is Dialect.TP:
        # Three l's: the suite's spelling.
        return json.dumps({"handshakePlusOneRTTMillis": handshake_ms, "pingRTTMilllis": ping_ms})
    return (
        "latency:\n"
        f"  handshake_plus_one_rtt: {handshake_ms:.3f}\n"
        f"  ping_rtt: {ping_ms:.3f}\n"
        "  unit: ms"
    )


async def run(settings: Settings) -> None:
    """Listen until stopped, or dial, ping once and print the times."""
    await (_dial if settings.is_dialer else _listen)(settings)


async def _listen(settings: Settings) -> None:
    async with make_builder(settings).open() as host:
        with trio.fail_after(settings.timeout):
            async with Redis.connect(settings.redis) as redis:
                await redis.push_only(settings.key, published(host.addresses))
        await wait_for_end(settings.timeout)


async def _dial(settings: Settings) -> None:
    ping = Ping(PingOptions(timeout=settings.timeout))
    with trio.fail_after(settings.timeout):
        async with make_builder(settings).services(ping).open() as host:
            async with Redis.connect(settings.redis) as redis:
                address, peer = peer_of(await redis.pop(settings.key, settings.timeout))
            # A stream to a known peer does not wait for identify, as `connect` would.
            host.peerstore.add_addresses(peer, [address], Ttl.TEMPORARY)
            start = trio.current_time()
            rtt = await ping.ping_once(peer)
            total = trio.current_time() - start
            print(report(settings.dialect, total * 1000, rtt * 1000), flush=True)


if __name__ == "__main__":
    sys.exit(main(run, parse))
