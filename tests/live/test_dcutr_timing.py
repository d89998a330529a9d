"""The moment of a punch, in a process that is busy (CAPABILITIES C4).

Nothing is asserted about time, which depends on the machine: `-s` prints what was measured.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from contextlib import suppress

import pytest
import trio

from carrick import HostBuilder, Stream
from carrick.addressing import parse_address
from carrick.identity import PrivateKey
from carrick.interfaces import Role
from carrick.protocols.dcutr import Attempt, Dcutr, Upgrade
from carrick.protocols.dcutr.addresses import Targets
from tests.support.swarms import echo

SO_TIMESTAMPNS = 35  # Linux
STREAMS = 100
PUNCHES = 20


class Sink:
    """Where datagrams arrive; the system notes when."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)

    @property
    def address(self) -> str:
        return f"/ip4/127.0.0.1/udp/{self.socket.getsockname()[1]}/quic-v1"

    def first(self) -> float:
        """When the first of those that have arrived did, as `time.time()` has it."""
        arrived = []
        with suppress(BlockingIOError):
            while True:
                _, (noted, *_), _, _ = self.socket.recvmsg(2048, 64)
                seconds, nanoseconds = struct.unpack("qq", noted[2])
                arrived.append(seconds + nanoseconds / 1e9)
        return arrived[0]


async def busy(stream: Stream) -> None:
    while True:
        await stream.send_all(bytes(1024))
        await stream.read_exactly(1024)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux when datagrams arrived")
async def test_the_moment_of_a_punch_under_a_hundred_busy_streams() -> None:
    """C4: the moment itself; who starts when is in tests/sim/test_capabilities_punching.py."""
    listen = ("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1")
    builder = HostBuilder().transports("tcp", "quic").handle("/echo/1", echo)
    builder = builder.limits(streams_inbound_per_protocol_and_peer=2 * STREAMS)
    sink = Sink()
    errors: list[float] = []
    async with (
        builder.listen(*listen).services(Dcutr).open() as host,
        builder.listen(*listen).open() as other,
        trio.open_nursery() as nursery,
    ):
        relayed = await host.connect([each for each in other.addresses if "tcp" in str(each)])
        for _ in range(STREAMS):
            stream = await host.open_stream(relayed, "/echo/1")
            nursery.start_soon(busy, stream)
        puncher = host.service(Dcutr)._puncher
        upgrade = Upgrade(relayed, initiator=True)
        upgrade.relayed = _Elsewhere(relayed)  # type: ignore[assignment]
        origin = trio.current_time() - time.time()
        where = Targets((parse_address(sink.address),))
        assert host.swarm.can_punch(where.far[0])
        for _ in range(PUNCHES):
            at = trio.current_time() + 0.1
            attempt = Attempt(at)
            await puncher.meet(upgrade, attempt, where, Role.SERVER, at=at, timeout=0.1, near_at=at)
            errors.append(sink.first() + origin - at)
        nursery.cancel_scope.cancel()
    sink.socket.close()
    errors.sort()
    middle, late = errors[len(errors) // 2], errors[-1 - len(errors) // 100]
    print(f"\n{PUNCHES} punches, {STREAMS} busy streams: median {middle * 1e3:.2f} ms late, ")
    print(f"p99 {late * 1e3:.2f} ms, most {errors[-1] * 1e3:.2f} ms")


class _Elsewhere:
    """A connection with somebody whom nobody knows."""

    def __init__(self, relayed: object) -> None:
        self.peer_id = PrivateKey.generate().peer_id
