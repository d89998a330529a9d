"""Both sides of an AutoNAT v2 dial request, without I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from carrick.addressing import IPAddress, Multiaddr, host_ip, transport_name
from carrick.errors import CarrickError, ProtocolError
from carrick.protocols.autonat.addresses import plain_ip
from carrick.protocols.autonat.v2.messages import (
    MAX_DATA,
    MAX_MESSAGE,
    DialDataRequest,
    DialDataResponse,
    DialRequest,
    DialResponse,
    DialStatus,
    Incoming,
    ResponseStatus,
    encode,
)

__all__ = [
    "AskForData",
    "Dial",
    "Finding",
    "MoreData",
    "Probe",
    "ProbeRejected",
    "Refuse",
    "Request",
    "SendData",
]

DATA_RANGE = (30_000, 100_000)  # bytes that a dial of a foreign IP costs; the specification
MAX_DATA_SIZE = 100_000  # bytes that we pay at most; go-libp2p autonatv2/client.go
DATA_CHUNK = 4000  # bytes; go the same
MIN_CHUNK = 100  # bytes that a chunk must have, unless it is the last; go's server.go


# --- the server ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dial:
    """Dial this address and no other, and say the nonce there.

    Attributes:
        paid: data was sent for it: wait a random moment first.
    """

    address: Multiaddr
    index: int
    nonce: int
    paid: bool

    def response(self, status: DialStatus) -> bytes:
        """The last message to the client."""
        return encode(DialResponse(ResponseStatus.OK, self.index, status))


@dataclass(frozen=True, slots=True)
class Refuse:
    """Send this last message; nothing is dialled."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class AskForData:
    """Send this, and go on reading."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class MoreData:
    """Go on reading."""


ServerStep: TypeAlias = Dial | Refuse | AskForData | MoreData


class Request:
    """A dial request that a client makes of us.

    Args:
        observed: the IP address that we see the client at.
        can_dial: whether we can and will dial an address.
        allow: whether the rates allow a dial of an address, which has to be paid for or not. Asked
            at most once.
        data_size: what a dial of a foreign IP address costs, in bytes.
    """

    def __init__(
        self,
        *,
        observed: IPAddress | None,
        can_dial: Callable[[Multiaddr], bool],
        allow: Callable[[Multiaddr, bool], bool],
        data_size: int,
    ) -> None:
        self._observed = plain_ip(observed)
        self._can_dial = can_dial
        self._allow = allow
        self._missing = data_size
        self._dial: Dial | None = None

    def receive(self, message: Incoming) -> ServerStep:
        """The next message of the client.

        Raises:
            ProtocolError: it is not the one that must come now, or carries next to nothing.
        """
        if self._dial is None:
            return self._choose(message)
        if not isinstance(message, DialDataResponse):
            raise ProtocolError("a dial request goes on with something else than dial data")
        self._missing -= len(message.data)
        if self._missing <= 0:
            return self._dial
        if len(message.data) < MIN_CHUNK:
            raise ProtocolError(f"dial data in pieces of {len(message.data)} bytes")
        return MoreData()

    def _choose(self, message: Incoming) -> ServerStep:
        if not isinstance(message, DialRequest):
            raise ProtocolError("a dial request begins with something else")
        chosen = next(
            (
                (index, address)
                for index, address in enumerate(message.addresses)
                if address is not None and self._can_dial(address)
            ),
            None,
        )
        if chosen is None:
            return Refuse(encode(DialResponse(ResponseStatus.DIAL_REFUSED)))
        index, address = chosen
        foreign = self._observed is None or plain_ip(host_ip(address)) != self._observed
        if not self._allow(address, foreign):
            return Refuse(encode(DialResponse(ResponseStatus.REQUEST_REJECTED)))
        self._dial = Dial(address, index, message.nonce, paid=foreign)
        if foreign:
            return AskForData(encode(DialDataRequest(index, self._missing)))
        return self._dial


# --- the client ---------------------------------------------------------------------------------


class ProbeRejected(CarrickError):
    """The server did not serve the request; `status` says why."""

    def __init__(self, status: ResponseStatus) -> None:
        super().__init__(f"the AutoNAT server answered {status.name}")
        self.status = status


@dataclass(frozen=True, slots=True)
class SendData:
    """Send each of these messages."""

    payloads: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a server found, as far as it is proven.

    Attributes:
        address: the one that it dialled.
        reachable: the nonce came to us on a connection that fits the address.
    """

    address: Multiaddr
    reachable: bool


class Probe:
    """A dial request that we make of a server.

    Args:
        addresses: the most wanted first.
        nonce: 64 random bits; who knows them was told by our request.
    """

    def __init__(self, addresses: Sequence[Multiaddr], nonce: int) -> None:
        self.addresses = tuple(addresses)
        self.nonce = nonce
        self.dialled_back: Multiaddr | None = None
        """Our address of the connection on which the nonce came."""
        self.response: DialResponse | None = None
        self._paid = False

    def request(self) -> bytes:
        """The first message.

        Raises:
            ValueError: the addresses do not fit into a message.
        """
        payload = encode(DialRequest(self.addresses, self.nonce))
        if len(payload) > MAX_MESSAGE:
            raise ValueError(f"{len(self.addresses)} addresses do not fit into a dial request")
        return payload

    def receive(self, message: Incoming) -> SendData | DialResponse:
        """The next message of the server; the response is the last.

        Raises:
            ProtocolError: it is not one that may come now, asks for too much, or makes no sense.
            ProbeRejected: the server does not serve us.
        """
        if isinstance(message, DialDataRequest) and not self._paid:
            self._check_index(message.index)
            if message.size > MAX_DATA_SIZE:
                raise ProtocolError(
                    f"{message.size} bytes asked for one dial; the limit is {MAX_DATA_SIZE}"
                )
            self._paid = True
            return SendData(tuple(_data(message.size)))
        if not isinstance(message, DialResponse):
            raise ProtocolError("an AutoNAT server answers with something else")
        if message.status is not ResponseStatus.OK:
            raise ProbeRejected(message.status)
        self._check_index(message.index)
        if message.dial_status is DialStatus.UNUSED:
            raise ProtocolError("a dial response without a dial status")
        self.response = message
        return message

    @property
    def awaits_dial_back(self) -> bool:
        """The server says that it reached us, and its nonce has not come."""
        return (
            self.dialled_back is None
            and self.response is not None
            and self.response.dial_status is not DialStatus.DIAL_ERROR
        )

    def finding(self) -> Finding:
        """What is proven, once the response is there and the dial-back had its time.

        Raises:
            ProtocolError: the server claims what is not so.
        """
        assert self.response is not None
        address = self.addresses[self.response.index]
        if self.response.dial_status is DialStatus.DIAL_ERROR:
            return Finding(address, False)
        # With DIAL_BACK_ERROR the nonce may have come all the same, as in go.
        if self.dialled_back is None or not _fits(self.dialled_back, address):
            raise ProtocolError("an AutoNAT server claims a dial that did not arrive")
        return Finding(address, True)

    def _check_index(self, index: int) -> None:
        if index >= len(self.addresses):
            raise ProtocolError(f"an AutoNAT server names address {index}; we gave fewer")


def _data(size: int) -> list[bytes]:
    assert DATA_CHUNK <= MAX_DATA
    whole, rest = divmod(size, DATA_CHUNK)
    payloads = [encode(DialDataResponse(bytes(DATA_CHUNK)))] * whole
    return payloads + ([encode(DialDataResponse(bytes(rest)))] if rest else [])


def _fits(local: Multiaddr, dialled: Multiaddr) -> bool:
    """Whether a connection at our address `local` may come of a dial of `dialled`: the same
    transport and IP version. More cannot be seen: a NAT may lie between."""
    here, there = plain_ip(host_ip(local)), plain_ip(host_ip(dialled))
    if transport_name(local) != transport_name(dialled):
        return False
    return here is None or there is None or here.version == there.version
