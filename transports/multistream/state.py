"""The two sides of multistream-select as state machines without I/O.

Both are driven alike: send `take_output()`, give what arrives to `receive`, until `selected` is
set. `rest` then holds the bytes that came behind the negotiation.

Roles are fixed from outside. Should both sides be dialers (a simultaneous open whose roles nobody
assigned), each reads the other's proposal as the answer to its own: both select when the first
proposals are the same, and both fail when they differ. Neither waits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

from carrick.errors import NegotiationError, ProtocolError, ProtocolNotSupported
from carrick.interfaces import Buffer
from carrick.transports.multistream.messages import (
    HEADER,
    MAX_MESSAGE,
    NA,
    PROTOCOL_ID,
    decode_message,
    encode_list,
    encode_proposal,
)
from carrick.wire import FrameReader, encode_frame

MAX_PROPOSALS = 1000  # rust-libp2p multistream-select protocol.rs:45; ATTACKS row 7
MAX_LISTS = 8  # `ls` is for people; each answer has up to MAX_MESSAGE bytes: ATTACKS row 8


class _Negotiation(ABC):
    """What both sides share: the peer's header, the messages behind it, and the end."""

    __slots__ = ("_failed", "_header_left", "_output", "_reader", "rest", "selected")

    selected: str | None
    """The protocol that both sides agreed on."""
    rest: bytes
    """Once `selected`: the bytes received behind the negotiation."""

    def __init__(self, output: bytes) -> None:
        self.selected = None
        self.rest = b""
        self._output = output
        self._header_left = HEADER
        self._reader = FrameReader(MAX_MESSAGE)
        self._failed = False

    def take_output(self) -> bytes:
        """The bytes to send now; they are handed out once."""
        output, self._output = self._output, b""
        return output

    def receive(self, data: Buffer) -> None:
        """Take in what the peer sent, cut anywhere. Behind `selected` it is added to `rest`.

        Raises:
            NegotiationError: the peer broke the protocol, or went beyond a limit.
            ProtocolNotSupported: it refused everything that was proposed.
        """
        if self.selected is not None:
            self.rest += data
            return
        if self._failed:
            raise NegotiationError("the negotiation has failed before")
        try:
            self._advance(data)
        except (NegotiationError, ProtocolNotSupported):
            self._failed = True
            raise
        except ProtocolError as error:
            self._failed = True
            raise NegotiationError(f"multistream: {error.message}") from error

    def _advance(self, data: Buffer) -> None:
        if self._header_left:
            data = self._take_header(data)
        if data:
            self._read(data)

    def _take_header(self, data: Buffer) -> Buffer:
        """Compare with the header byte by byte: what speaks something else is refused at once."""
        count = min(len(data), len(self._header_left))
        if data[:count] != self._header_left[:count]:
            raise NegotiationError(f"the peer does not speak {PROTOCOL_ID}")
        self._header_left = self._header_left[count:]
        return data[count:]

    def _read(self, data: Buffer) -> None:
        self._reader.feed(data)
        while (message := self._reader.next()) is not None:
            self._handle(message)
            if self.selected is not None:
                self.rest = self._reader.rest()
                return

    @abstractmethod
    def _handle(self, message: bytes) -> None:
        """A message of the peer, without its length prefix."""


class Dialer(_Negotiation):
    """The side that proposes.

    Args:
        protocols: the protocols to propose, the preferred one first.
        lazy: application bytes may be sent right behind the first output, before the peer
            answers (0-RTT). There is no second proposal then, so exactly one protocol is given;
            the answer is still checked.

    Raises:
        ValueError: no protocols, not exactly one although `lazy`, or one that cannot be
            negotiated (see `check_protocol`).
    """

    __slots__ = ("_at", "_proposal", "lazy", "protocols")

    def __init__(self, protocols: Sequence[str], *, lazy: bool = False) -> None:
        if not protocols:
            raise ValueError("no protocols to propose")
        if lazy and len(protocols) != 1:
            raise ValueError("lazy negotiation proposes exactly one protocol")
        for protocol in protocols:
            encode_proposal(protocol)
        self.protocols = tuple(protocols)
        self.lazy = lazy
        self._at = 0
        self._proposal = encode_proposal(self.protocols[0])
        super().__init__(HEADER + self._proposal)

    def _read(self, data: Buffer) -> None:
        size = len(self._proposal)
        if not self._reader.buffered and data[:size] == self._proposal:  # the usual answer, whole
            self.selected = self.protocols[self._at]
            self.rest = bytes(data[size:])
        else:
            super()._read(data)

    def _handle(self, message: bytes) -> None:
        answer = decode_message(message)
        if answer == self.protocols[self._at]:
            self.selected = answer
        elif answer == "na":
            self._propose_next()
        else:
            raise NegotiationError(
                f"proposed {self.protocols[self._at]}, the peer answered {answer[:80]!r}"
            )

    def _propose_next(self) -> None:
        self._at += 1
        if self._at == len(self.protocols):
            raise ProtocolNotSupported(f"the peer supports none of: {', '.join(self.protocols)}")
        self._proposal = encode_proposal(self.protocols[self._at])
        self._output += self._proposal


class Listener(_Negotiation):
    """The side that answers.

    Args:
        is_supported: whether a protocol that the peer proposes is spoken here.
        protocols: what `ls` lists; looked at only when the peer asks. What cannot be negotiated
            (see `check_protocol`) is left out. The default lists nothing.
        max_proposals: how many messages the peer may send behind its header. Few are enough
            before the peer is authenticated.
    """

    __slots__ = ("_is_supported", "_lists_left", "_proposals_left", "_protocols")

    def __init__(
        self,
        is_supported: Callable[[str], bool],
        protocols: Iterable[str] = (),
        *,
        max_proposals: int = MAX_PROPOSALS,
    ) -> None:
        self._is_supported = is_supported
        self._protocols = protocols
        self._proposals_left = max_proposals
        self._lists_left = MAX_LISTS
        super().__init__(b"")

    def _take_header(self, data: Buffer) -> Buffer:
        data = super()._take_header(data)
        if not self._header_left:
            self._output = HEADER
        return data

    def _read(self, data: Buffer) -> None:
        end = data[0] + 1
        if end <= 128 and end <= len(data) and not self._reader.buffered:  # whole, and short
            self._handle(bytes(data[1:end]))
            if self.selected is not None:
                self.rest = bytes(data[end:])
                return
            data = data[end:]
        super()._read(data)

    def _handle(self, message: bytes) -> None:
        proposal = decode_message(message)
        if not self._proposals_left:
            raise NegotiationError("the peer proposes without end")
        self._proposals_left -= 1
        if proposal == "ls":
            self._list()
        elif proposal == "na":
            raise NegotiationError("the peer answers, though it is its turn to propose")
        elif self._is_supported(proposal):
            self.selected = proposal
            self._output += encode_frame(message)
        else:
            self._output += NA

    def _list(self) -> None:
        if not self._lists_left:
            raise NegotiationError("the peer asks for the list of protocols without end")
        self._lists_left -= 1
        self._output += encode_list(self._protocols)
