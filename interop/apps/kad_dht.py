"""The kad-dht suite: bootstrap node, provider or querier. ``python -m interop.apps.kad_dht``.

The provider tells the bootstrap node what it has, and stores a value there; the querier, who
knows nobody but the bootstrap node, finds both.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar

import trio

from carrick import CarrickError, Host
from carrick.addressing import parse_address
from carrick.protocols.kademlia import Kademlia, KademliaOptions, Mode, NotFound
from interop.apps.kad_environment import KadSettings, Role, parse
from interop.apps.node import main, make_builder, published, wait_for_end
from interop.apps.resp import Redis, RedisError

__all__ = ["run"]

VALUE = b"hello from carrick client"
EXPECTED = b"hello from"
TRIES = 10  # of a lookup, as the other apps have it: the provider's word may still be on its way
PAUSE = 1.0  # s between them

R = TypeVar("R")


class Failure(CarrickError):
    """What was found is not what should be there."""


async def run(settings: KadSettings) -> None:
    """Play the role."""
    roles = {Role.BOOTSTRAP: _bootstrap, Role.PROVIDER: _provide, Role.QUERIER: _query}
    async with Redis.connect(settings.node.redis) as redis:
        await roles[settings.role](settings, redis)


async def _bootstrap(settings: KadSettings, redis: Redis) -> None:
    async with _node(settings) as host:
        await redis.call("SET", settings.address_key, published(host.addresses))
        await wait_for_end(settings.timeout)


async def _provide(settings: KadSettings, redis: Redis) -> None:
    with trio.fail_after(settings.timeout):
        bootstrap = await redis.text(settings.address_key, settings.timeout)
    async with _node(settings, bootstrap) as host:
        dht = host.service(Kademlia)
        with trio.fail_after(settings.timeout):
            await dht.wait_bootstrapped()
            await dht.provide(settings.content)
            await dht.put_value(settings.record, VALUE)
        await redis.call("SET", settings.done_key, "done")
        await wait_for_end(settings.timeout)


async def _query(settings: KadSettings, redis: Redis) -> None:
    try:
        with trio.fail_after(settings.timeout):
            await _find(settings, redis)
    except (CarrickError, RedisError, trio.TooSlowError) as error:
        print(f"error: {error}\nstatus: fail", flush=True)
        raise
    print("status: pass", flush=True)


async def _find(settings: KadSettings, redis: Redis) -> None:
    bootstrap = await redis.text(settings.address_key, settings.timeout)
    await redis.text(settings.done_key, settings.timeout)
    async with _node(settings, bootstrap) as host:
        dht = host.service(Kademlia)
        await dht.wait_bootstrapped()
        if not await _tried(lambda: dht.find_providers(settings.content)):
            raise Failure("no providers")
        value = await _tried(lambda: dht.get_value(settings.record))
        if value is None or EXPECTED not in value:
            raise Failure(f"not the value that was put: {value!r}")


async def _tried(ask: Callable[[], Awaitable[R]]) -> R | None:
    """The first answer that is not empty; None if there is none."""
    for number in range(TRIES):
        if number:
            await trio.sleep(PAUSE)
        try:
            if found := await ask():
                return found
        except NotFound:
            continue
    return None


@asynccontextmanager
async def _node(settings: KadSettings, *bootstrap: str) -> AsyncIterator[Host]:
    """A node of the suite's DHT: in a network with private addresses, and for any value."""
    options = KademliaOptions.local(
        mode=Mode.CLIENT if settings.role is Role.QUERIER else Mode.SERVER,
        bootstrap=[parse_address(address) for address in bootstrap],
        validators={**KademliaOptions().validators, "example": _Anything()},
    )
    listening = replace(settings.node, listen_ip=await _own_ip(settings.node.redis))
    async with make_builder(listening).services(Kademlia(options)).open() as host:
        yield host


async def _own_ip(redis: tuple[str, int]) -> str:
    """Where the network of the Redis server sees us. Nothing is sent."""
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as socket:
        await socket.connect(redis)
        host, _ = socket.getsockname()
        return str(host)


class _Anything:
    """Takes every value: `carrick.protocols.kademlia.interfaces.Validator`."""

    def validate(self, key: bytes, value: bytes, now: float) -> None:
        """It is valid."""

    def select(self, key: bytes, values: Sequence[bytes]) -> int:
        return 0


if __name__ == "__main__":
    sys.exit(main(run, parse))
