"""Private networks over TCP: the same key connects, nothing else does."""

from __future__ import annotations

import pytest
import trio

from carrick.addressing import parse_address
from carrick.errors import CarrickError
from carrick.identity import PrivateKey
from carrick.interfaces import Security
from carrick.transports.bytestream import Upgrader
from carrick.transports.muxers.yamux import Yamux
from carrick.transports.security.noise import Noise
from carrick.transports.security.pnet import PrivateNetwork
from carrick.transports.security.tls import Tls
from carrick.transports.tcp import TcpTransport
from tests.support.transports import LISTEN_ON, MUXERS, Unlimited

PSK, OTHER_PSK = bytes(range(32)), bytes(32)


def transport(security: Security, psk: bytes | None) -> TcpTransport:
    wrapper = None if psk is None else PrivateNetwork(psk)
    return TcpTransport(Upgrader([security], {Yamux.id: MUXERS[Yamux.id]}, wrapper))


@pytest.mark.parametrize("kind", [Noise, Tls])
async def test_same_key(kind: type[Noise] | type[Tls]) -> None:
    dialer_key, listener_key = PrivateKey.generate(), PrivateKey.generate()
    listener = await transport(kind(listener_key), PSK).listen(parse_address(LISTEN_ON["tcp"]))
    data = bytes(range(256)) * 4096

    async def serve() -> None:
        connection = await (await listener.accept()).upgrade(Unlimited())
        nursery.start_soon(connection.run)
        stream = await connection.accept_stream()
        while received := await stream.receive_some():
            await stream.send_all(received)
        await stream.send_eof()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            connection = await transport(kind(dialer_key), PSK).dial(
                listener.address, listener_key.peer_id, budget=Unlimited()
            )
            nursery.start_soon(connection.run)
            stream = await connection.open_stream()

            async def send() -> None:
                await stream.send_all(data)
                await stream.send_eof()

            nursery.start_soon(send)
            got = b""
            while received := await stream.receive_some():
                got += received
            assert got == data
            nursery.cancel_scope.cancel()
    listener.close()


@pytest.mark.parametrize("theirs", [OTHER_PSK, None], ids=["another key", "no key"])
@pytest.mark.parametrize("kind", [Noise, Tls])
async def test_other_network(
    kind: type[Noise] | type[Tls], theirs: bytes | None, autojump_clock: trio.abc.Clock
) -> None:
    """Neither side gets anywhere before its deadline, whichever side has the key."""
    for dialer_psk, listener_psk in ((PSK, theirs), (theirs, PSK)):
        failed: list[str] = []
        accepting = transport(kind(PrivateKey.generate()), listener_psk)
        listener = await accepting.listen(parse_address(LISTEN_ON["tcp"]))

        async def accept(listener=listener, failed=failed) -> None:
            inbound = await listener.accept()
            with trio.move_on_after(10) as scope, pytest.raises(CarrickError):
                await inbound.upgrade(Unlimited())
            failed.append("listener" + " timed out" * scope.cancelled_caught)

        async def dial(listener=listener, failed=failed, psk=dialer_psk) -> None:
            dialing = transport(kind(PrivateKey.generate()), psk)
            with trio.move_on_after(10) as scope, pytest.raises(CarrickError):
                await dialing.dial(listener.address, None, budget=Unlimited())
            failed.append("dialer" + " timed out" * scope.cancelled_caught)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            nursery.start_soon(dial)
        assert len(failed) == 2
        listener.close()
