"""A node with a port mapper that uses the named protocols, for tests in the laboratory.

Prints its id, then a line for each change of its mappings; ends in order at SIGTERM.
"""

from __future__ import annotations

import signal
import sys

import trio

from carrick import HostBuilder
from carrick.host import OwnAddressesChanged
from carrick.protocols.portmap import PortMapper, PortMapperOptions

LISTEN = ("/ip4/0.0.0.0/tcp/4001", "/ip4/0.0.0.0/udp/4001/quic-v1")


async def main(protocols: tuple[str, ...]) -> None:
    options = PortMapperOptions(protocols=protocols, check_interval=2.0, retry=1.0)
    mapper = PortMapper(options)
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with HostBuilder().services(mapper).listen(*LISTEN).open() as host:
            print(host.id, flush=True)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_report, host, mapper)
                async for _ in signals:
                    nursery.cancel_scope.cancel()
                    break


async def _report(host: object, mapper: PortMapper) -> None:
    from carrick import Host

    assert isinstance(host, Host)
    with host.events.subscribe(OwnAddressesChanged) as changes:
        async for _ in changes:
            addresses = " ".join(map(str, mapper.addresses()))
            via = mapper.gateway.via if mapper.gateway else "none"
            print(f"{via} {host.nat.layers.value} {addresses}", flush=True)


if __name__ == "__main__":
    trio.run(main, tuple(sys.argv[1:]))
