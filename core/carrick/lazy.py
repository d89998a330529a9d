"""Parts that are imported and made when they are first used.

A host knows many transports and security protocols, and most runs need few of them: QUIC alone
takes a tenth of a second to import.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from carrick.addressing import transport_name
from carrick.errors import UnsupportedAddress
from carrick.interfaces import PunchingTransport, Role

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from carrick.identity import PeerId
    from carrick.interfaces import (
        Budget,
        Handshake,
        Listener,
        MuxedConnection,
        Security,
        Transport,
    )

__all__ = ["LazySecurity", "LazyTransport"]


class LazyTransport:
    """A transport that is made when it is asked about the first address of its kinds.

    Args:
        kinds: what `carrick.addressing.transport_name` calls its addresses.
        make: imports and makes it.
    """

    def __init__(self, *kinds: str, make: Callable[[], Transport]) -> None:
        self._kinds = kinds
        self._make = make

    @cached_property
    def made(self) -> Transport:
        """The transport itself."""
        return self._make()

    def can_dial(self, address: Multiaddr) -> bool:
        return transport_name(address) in self._kinds and self.made.can_dial(address)

    def can_listen(self, address: Multiaddr) -> bool:
        return transport_name(address) in self._kinds and self.made.can_listen(address)

    async def dial(
        self,
        address: Multiaddr,
        peer: PeerId | None,
        *,
        role: Role = Role.CLIENT,
        budget: Budget,
    ) -> MuxedConnection:
        return await self.made.dial(address, peer, role=role, budget=budget)

    async def listen(self, address: Multiaddr) -> Listener:
        return await self.made.listen(address)

    def can_punch(self, address: Multiaddr) -> bool:
        if not self.can_dial(address):
            return False
        return isinstance(self.made, PunchingTransport) and self.made.can_punch(address)

    async def dial_back(
        self, address: Multiaddr, peer: PeerId | None, *, budget: Budget
    ) -> MuxedConnection:
        if not isinstance(self.made, PunchingTransport):
            return await self.made.dial(address, peer, budget=budget)
        return await self.made.dial_back(address, peer, budget=budget)

    async def punch(
        self, address: Multiaddr, peer: PeerId | None, *, role: Role, budget: Budget
    ) -> MuxedConnection:
        if not isinstance(self.made, PunchingTransport):
            raise UnsupportedAddress("this transport does not punch", address=address)
        return await self.made.punch(address, peer, role=role, budget=budget)


class LazySecurity:
    """A security protocol that is made when the first connection takes it.

    Args:
        id: its protocol id.
        make: imports and makes it.
    """

    def __init__(self, id: str, make: Callable[[], Security]) -> None:
        self.id = id
        self._make = make

    @cached_property
    def _made(self) -> Security:
        return self._make()

    def handshake(
        self, role: Role, *, expected_peer: PeerId | None, muxers: Sequence[str]
    ) -> Handshake:
        return self._made.handshake(role, expected_peer=expected_peer, muxers=muxers)
