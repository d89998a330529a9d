"""The hole-punch suites: relay, listener or dialer. ``python -m interop.apps.hole_punch``.

The listener reserves a slot at the relay; the dialer reaches it over that; then both punch.
"""

from __future__ import annotations

import json
import sys
from contextlib import AbstractAsyncContextManager

import trio

from carrick import Host
from carrick.addressing import parse_address
from carrick.protocols.dcutr import Dcutr, DcutrOptions
from carrick.protocols.ping import Ping, PingOptions
from carrick.protocols.relay import RelayClient, RelayService
from interop.apps.environment import Dialect
from interop.apps.node import main, make_builder, published, wait_for_end
from interop.apps.punch_environment import PunchSettings, Role, Route, parse
from interop.apps.resp import Redis
from interop.apps.transport import report

__all__ = ["run"]


async def run(settings: PunchSettings) -> None:
    """Play the role."""
    for route in settings.routes:
        await _set_up(route)
    roles = {Role.RELAY: _relay, Role.LISTENER: _listen, Role.DIALER: _dial}
    await roles[settings.role](settings)


async def _set_up(route: Route) -> None:
    words = ["ip", "route", "replace", route.subnet, "via", route.via, "dev", route.device]
    result = await trio.run_process(words, check=False, capture_stderr=True)
    if result.returncode:
        raise OSError(f"{' '.join(words)}: {result.stderr.decode().strip()}")


async def _relay(settings: PunchSettings) -> None:
    async with (
        make_builder(settings.node).services(RelayService()).open() as host,
        Redis.connect(settings.node.redis) as redis,
    ):
        await redis.call("SET", settings.relay_key, published(host.addresses))
        await wait_for_end(settings.timeout)


async def _listen(settings: PunchSettings) -> None:
    async with _peer(settings) as host, Redis.connect(settings.node.redis) as redis:
        with trio.fail_after(settings.timeout):
            relay = await _learn(redis, settings, settings.relay_key)
            await host.service(RelayClient).reserve(relay)
            await _tell(redis, settings, settings.peer_key, str(host.id))
        await wait_for_end(settings.timeout)


async def _dial(settings: PunchSettings) -> None:
    with trio.fail_after(settings.timeout):
        async with _peer(settings) as host, Redis.connect(settings.node.redis) as redis:
            relay = await _learn(redis, settings, settings.relay_key)
            # Who has identified itself has said where it sees us.
            await host.connect(relay)
            peer = await _learn(redis, settings, settings.peer_key)
            start = trio.current_time()
            connection = await host.connect(
                parse_address(f"{relay}/p2p-circuit/p2p/{peer}"),
                timeout=settings.timeout,
                direct=True,
            )
            punched = trio.current_time() - start
            rtt = await host.service(Ping).ping_once(connection)
            print(_result(settings.node.dialect, punched + rtt, rtt), flush=True)


def _peer(settings: PunchSettings) -> AbstractAsyncContextManager[Host]:
    ping = Ping(PingOptions(timeout=settings.timeout))
    # The suites' internet has private addresses.
    services = (ping, RelayClient(), Dcutr(DcutrOptions(allow_private=True)))
    return make_builder(settings.node).observers(1).services(*services).open()


def _result(dialect: Dialect, total: float, rtt: float) -> str:
    if dialect is Dialect.TP:
        return json.dumps({"rtt_to_holepunched_peer_millis": round(rtt * 1000)})
    return report(dialect, total * 1000, rtt * 1000)


# unified-testing keeps strings in Redis, test-plans lists.


async def _tell(redis: Redis, settings: PunchSettings, key: str, value: str) -> None:
    await redis.call("SET" if settings.node.dialect is Dialect.UT else "RPUSH", key, value)


async def _learn(redis: Redis, settings: PunchSettings, key: str) -> str:
    if settings.node.dialect is Dialect.UT:
        return await redis.text(key, settings.timeout)
    return await redis.pop(key, settings.timeout)


if __name__ == "__main__":
    sys.exit(main(run, parse))
