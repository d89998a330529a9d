"""The memory transport: numbers, listeners and their end."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from carrick.addressing import parse_address
from carrick.errors import DialError, HandshakeError, ListenError, UnsupportedAddress
from carrick.identity import PrivateKey
from carrick.transports.memory import transport as module
from tests.support.transports import Stack, Unlimited

STACK = Stack("memory", "plaintext", "yamux")
ANY = parse_address("/memory/0")


def make():
    return STACK.make(PrivateKey.generate())


@pytest.mark.parametrize("text", ["/ip4/127.0.0.1/tcp/1", "/memory/1/tcp/1"])
async def test_other_addresses_are_not_its_own(text: str) -> None:
    address, transport = parse_address(text), make()
    assert not transport.can_dial(address)
    assert not transport.can_listen(address)
    with pytest.raises(UnsupportedAddress):
        await transport.dial(address, None, budget=Unlimited())
    with pytest.raises(UnsupportedAddress):
        await transport.listen(address)


async def test_a_number_belongs_to_one_listener() -> None:
    transport = make()
    listener = await transport.listen(parse_address("/memory/5"))
    with pytest.raises(ListenError, match="in use"):
        await make().listen(listener.address)
    listener.close()
    listener.close()
    again = await make().listen(listener.address)
    listener.close()  # it does not take the number from its successor
    with pytest.raises(ListenError):
        await transport.listen(again.address)


async def test_a_free_number_is_one_that_nobody_chose() -> None:
    transport = make()
    taken = await transport.listen(parse_address(f"/memory/{module._FIRST_FREE}"))
    free = [(await transport.listen(ANY)).address for _ in range(3)]
    assert len({taken.address, *free}) == 4


async def test_nobody_listens() -> None:
    with pytest.raises(DialError, match="nobody listens"):
        await make().dial(parse_address("/memory/6"), None, budget=Unlimited())


async def test_each_run_of_trio_has_its_own_numbers() -> None:
    def other_run() -> None:
        async def listen() -> None:
            await make().listen(parse_address("/memory/7"))

        trio.run(listen)

    await make().listen(parse_address("/memory/7"))
    await trio.to_thread.run_sync(other_run)


async def test_a_listener_that_closes_refuses_its_backlog() -> None:
    listener = await make().listen(ANY)
    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:

            async def dial() -> None:
                with pytest.raises(HandshakeError, match="reset"):
                    await make().dial(listener.address, None, budget=Unlimited())

            nursery.start_soon(dial)
            await trio.testing.wait_all_tasks_blocked()
            listener.close()
    with pytest.raises(trio.ClosedResourceError):
        await listener.accept()


async def test_a_full_backlog_refuses() -> None:
    listener = await make().listen(ANY)
    async with trio.open_nursery() as nursery:
        for _ in range(module.BACKLOG):
            nursery.start_soon(lambda: make().dial(listener.address, None, budget=Unlimited()))
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(1), pytest.raises(HandshakeError, match="lost"):
            await make().dial(listener.address, None, budget=Unlimited())
        nursery.cancel_scope.cancel()
