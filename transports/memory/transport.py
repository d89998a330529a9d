"""The memory transport: listeners of one trio run find each other by number."""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from carrick.addressing import parse_address, parts
from carrick.errors import DialError, ListenError, UnsupportedAddress
from carrick.interfaces import Budget, Role
from carrick.transports.bytestream import ByteStreamConnection, SecurityRefused, Upgrader
from carrick.transports.memory.pipe import MemorySocket, memory_pair

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from carrick.identity import PeerId

__all__ = ["MemoryTransport"]

BACKLOG = 128  # connections that wait to be accepted by one listener
HOST = "memory"
_FIRST_FREE = 1 << 32  # numbers that nobody chose begin here


class _Switchboard:
    """Who listens where, in one trio run."""

    def __init__(self) -> None:
        self.listeners: dict[int, MemoryListener] = {}
        self.numbers = itertools.count(_FIRST_FREE)


_switchboard: trio.lowlevel.RunVar[_Switchboard] = trio.lowlevel.RunVar("carrick_memory")


def _current() -> _Switchboard:
    try:
        return _switchboard.get()
    except LookupError:
        switchboard = _Switchboard()
        _switchboard.set(switchboard)
        return switchboard


class MemoryTransport:
    """See `carrick.interfaces.Transport`. `/memory/0` listens on a free number.

    Args:
        upgrader: what secures and multiplexes, as over any other byte stream.
    """

    def __init__(self, upgrader: Upgrader) -> None:
        self.upgrader = upgrader

    def can_dial(self, address: Multiaddr) -> bool:
        return _number(address) is not None

    def can_listen(self, address: Multiaddr) -> bool:
        return _number(address) is not None

    async def dial(
        self,
        address: Multiaddr,
        peer: PeerId | None,
        *,
        role: Role = Role.CLIENT,
        budget: Budget,
    ) -> ByteStreamConnection:
        number = _require_number(address)
        refused: list[str] = []
        while True:
            await trio.lowlevel.checkpoint()
            switchboard = _current()
            listener = switchboard.listeners.get(number)
            if listener is None:
                raise DialError("connection refused: nobody listens")
            local = next(switchboard.numbers)
            socket, accepted = memory_pair((HOST, local), (HOST, number))
            listener.deliver(accepted)
            try:
                return await self.upgrader.upgrade(
                    socket,
                    role=role,
                    peer=peer,
                    budget=budget,
                    local_address=_address(local),
                    remote_address=address,
                    refused=refused,
                )
            except SecurityRefused as error:
                assert error.protocol is not None
                refused.append(error.protocol)

    async def listen(self, address: Multiaddr) -> MemoryListener:
        await trio.lowlevel.checkpoint()
        switchboard = _current()
        taken = switchboard.listeners
        number = _require_number(address) or next(n for n in switchboard.numbers if n not in taken)
        if number in taken:
            raise ListenError("cannot listen: the number is in use", address=address)
        listener = MemoryListener(self, switchboard, number)
        taken[number] = listener
        return listener


class MemoryListener:
    """See `carrick.interfaces.Listener`."""

    def __init__(self, transport: MemoryTransport, switchboard: _Switchboard, number: int) -> None:
        self._transport = transport
        self._switchboard = switchboard
        self._number = number
        self._send, self._receive = trio.open_memory_channel[MemorySocket](BACKLOG)
        self.address = _address(number)

    def deliver(self, socket: MemorySocket) -> None:
        """Put a dialled connection into the backlog; refuse it when that is full."""
        try:
            self._send.send_nowait(socket)
        except trio.WouldBlock:
            socket.abort()

    async def accept(self) -> MemoryInbound:
        try:
            return MemoryInbound(self._transport, await self._receive.receive())
        except trio.EndOfChannel:
            raise trio.ClosedResourceError("the listener was closed") from None

    def close(self) -> None:
        if self._switchboard.listeners.get(self._number) is self:
            del self._switchboard.listeners[self._number]
        self._send.close()
        with suppress(trio.EndOfChannel):
            while True:  # nobody accepts them any more
                self._receive.receive_nowait().abort()


class MemoryInbound:
    """See `carrick.interfaces.InboundConnection`."""

    def __init__(self, transport: MemoryTransport, socket: MemorySocket) -> None:
        self._transport = transport
        self._socket = socket
        self.local_address = _address(socket.local[1])
        self.remote_address = _address(socket.remote[1])

    async def upgrade(self, budget: Budget) -> ByteStreamConnection:
        return await self._transport.upgrader.upgrade(
            self._socket,
            role=Role.SERVER,
            peer=None,
            budget=budget,
            local_address=self.local_address,
            remote_address=self.remote_address,
        )

    def refuse(self) -> None:
        self._socket.abort()


def _address(number: int) -> Multiaddr:
    return parse_address(f"/memory/{number}")


def _number(address: Multiaddr) -> int | None:
    match parts(address):
        case (("memory", str(number)),):
            return int(number)
    return None


def _require_number(address: Multiaddr) -> int:
    number = _number(address)
    if number is None:
        raise UnsupportedAddress("not an address of the memory transport", address=address)
    return number
