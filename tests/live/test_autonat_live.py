"""AutoNAT on real sockets of the loopback interface."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from carrick import Host, HostBuilder
from carrick.addressing import parse_address
from carrick.errors import ProtocolError
from carrick.host import Reachability, ReachabilityChanged
from carrick.network import Stream
from carrick.protocols.autonat import AutoNat, AutoNatOptions
from carrick.protocols.autonat.v1 import messages as v1
from carrick.protocols.autonat.v2 import messages as v2
from carrick.protocols.identify import Identify
from tests.support.waiting import until

PLAIN = HostBuilder().services(Identify, defaults=False)
NODE = PLAIN.transports("tcp").listen("/ip4/127.0.0.1/tcp/0")
QUIC = PLAIN.transports("quic").listen("/ip4/127.0.0.1/udp/0/quic-v1")
SERVER = partial(AutoNat, AutoNatOptions(allow_private=True, probe=False))
CLIENT = partial(AutoNat, AutoNatOptions(allow_private=True, confidence=1, delay=0.0))


@pytest.mark.parametrize("node", [NODE, QUIC], ids=["tcp", "quic"])
async def test_reachable(node: HostBuilder) -> None:
    async with node.services(SERVER).open() as bob, node.services(CLIENT).open() as alice:
        with alice.events.subscribe(ReachabilityChanged) as events, trio.fail_after(10):
            await alice.connect(bob.addresses[0])
            event = await anext(events)
        assert event.reachability is Reachability.PUBLIC
        assert dict(event.addresses) == {alice.own_addresses.all()[0]: Reachability.PUBLIC}
        assert alice.service(AutoNat).reachability is Reachability.PUBLIC


async def streams_gone(host: Host) -> None:
    await until(lambda: not any(each.stream_count for each in host.connections))


async def test_the_streams_of_a_request_end() -> None:
    async with NODE.services(SERVER).open() as bob, NODE.services(SERVER).open() as alice:
        connection = await alice.connect(bob.addresses[0])
        finding = await alice.service(AutoNat).probe(connection, alice.own_addresses.all()[0])
        assert finding.reachable
        await streams_gone(alice)
        await streams_gone(bob)
        # A server that sends its response closes the stream; so the next read is the end.
        stream = await connection.open_stream(v2.DIAL_REQUEST)
        await stream.write_frame(v2.encode(v2.DialRequest((), 7)))
        assert v2.decode(await stream.read_frame(v2.MAX_MESSAGE)) == v2.DialResponse(
            v2.ResponseStatus.DIAL_REFUSED
        )
        assert await stream.receive_some() == b""


async def test_the_client_answers_and_closes_a_dial_back() -> None:
    answers: list[bytes] = []

    async def serve(stream: Stream) -> None:
        asked = v2.decode(await stream.read_frame(v2.MAX_MESSAGE))
        assert isinstance(asked, v2.DialRequest)
        back = await stream.connection.open_stream(v2.DIAL_BACK)
        await back.write_frame(v2.encode_dial_back(asked.nonce))
        answers.append(await back.read_frame(v2.MAX_DIAL_BACK))
        answers.append(await back.receive_some())
        response = v2.DialResponse(v2.ResponseStatus.OK, 0, v2.DialStatus.OK)
        await stream.write_frame(v2.encode(response))

    async with (
        NODE.handle(v2.DIAL_REQUEST, serve).open() as bob,
        NODE.services(SERVER).open() as alice,
    ):
        connection = await alice.connect(bob.addresses[0])
        # Its stream carries the nonce: who brings it does not matter, nor on which connection.
        finding = await alice.service(AutoNat).probe(connection, alice.own_addresses.all()[0])
        assert finding.reachable
        assert answers == [b"", b""]


async def test_dial_statuses() -> None:
    async with NODE.services(SERVER).open() as bob, NODE.open() as alice:
        connection = await alice.connect(bob.addresses[0])
        own, none = alice.own_addresses.all()[0], parse_address("/ip4/127.0.0.1/tcp/1")
        for address, status in (
            (none, v2.DialStatus.DIAL_ERROR),
            (own, v2.DialStatus.DIAL_BACK_ERROR),  # alice speaks no dial-back
        ):
            stream = await connection.open_stream(v2.DIAL_REQUEST)
            await stream.write_frame(v2.encode(v2.DialRequest((address,), 7)))
            assert v2.decode(await stream.read_frame(v2.MAX_MESSAGE)) == v2.DialResponse(
                v2.ResponseStatus.OK, 0, status
            )


async def test_a_reset_behind_the_nonce_does_not_unsay_it() -> None:
    """As go's client ends its stream; on QUIC the reset overtakes the answer."""
    nonces: list[int] = []

    async def take(stream: Stream) -> None:
        nonces.append(v2.decode_dial_back(await stream.read_frame(v2.MAX_DIAL_BACK)))
        stream.reset()

    async with (
        NODE.services(SERVER).open() as bob,
        NODE.handle(v2.DIAL_BACK, take).open() as alice,
    ):
        connection = await alice.connect(bob.addresses[0])
        stream = await connection.open_stream(v2.DIAL_REQUEST)
        await stream.write_frame(v2.encode(v2.DialRequest(alice.own_addresses.all(), 7)))
        answer = v2.decode(await stream.read_frame(v2.MAX_MESSAGE))
        assert answer == v2.DialResponse(v2.ResponseStatus.OK, 0, v2.DialStatus.OK)
        assert nonces == [7]


async def test_v1_both_roles() -> None:
    async with NODE.services(SERVER).open() as bob, NODE.services(SERVER).open() as alice:
        connection = await alice.connect(bob.addresses[0])
        (address,) = alice.own_addresses.all()
        assert await alice.service(AutoNat)._v1.ask(connection, [address]) is True
        stream = await connection.open_stream(v1.DIAL)
        await stream.write_frame(v1.encode(v1.Dial(alice.id.to_bytes(), (address,))))
        answer = v1.decode(await stream.read_frame(v1.MAX_MESSAGE))
        assert answer == v1.DialResponse(v1.Status.OK, "", address)


async def test_garbage_ends_the_stream_only() -> None:
    async with NODE.services(SERVER).open() as bob, NODE.open() as alice:
        connection = await alice.connect(bob.addresses[0])
        for protocol in (v1.DIAL, v2.DIAL_REQUEST, v2.DIAL_BACK):
            for payload in (b"\xff" * 20, b"", b"\x08\x07"):
                stream = await connection.open_stream(protocol)
                await stream.write_frame(payload)
                with pytest.raises((trio.BrokenResourceError, ProtocolError)):
                    await stream.read_frame(8192)
                stream.reset()
        assert not connection.closed
        assert not bob.connections[0].closed
