"""Every error that Carrick raises on purpose.

One root, `CarrickError`, so that a caller can tell our errors from a defect. An error carries
what a person needs to act: the peer, the address and the protocol that it concerns, where they
are known. Stream errors are also trio's own stream errors, so that any library written for trio
streams handles them.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

__all__ = [
    "AddressError",
    "BothDialed",
    "CarrickError",
    "ConnectionClosed",
    "ConnectionGated",
    "DialBackoff",
    "DialError",
    "FileError",
    "HandshakeError",
    "IdentityError",
    "InvalidAddress",
    "InvalidCid",
    "InvalidEnvelope",
    "InvalidKey",
    "InvalidPeerId",
    "InvalidSignature",
    "KeyFileError",
    "LimitedConnection",
    "ListenError",
    "MessageTooLarge",
    "MuxerError",
    "NegotiationError",
    "NoAddresses",
    "PEER_FAILURES",
    "PeerIdMismatch",
    "PeerTimeout",
    "PeerstoreError",
    "PrivateNetworkRequired",
    "ProtocolError",
    "ProtocolNotSupported",
    "RequestRefused",
    "ResolutionError",
    "ResourceLimitExceeded",
    "StreamReset",
    "UnsupportedAddress",
]


class CarrickError(Exception):
    """The root of Carrick's errors.

    Args:
        message: what happened, and what a person can do about it.
        peer: the peer concerned (anything whose `str` is its text form).
        address: the multiaddr concerned.
        protocol: the protocol id concerned.
    """

    def __init__(
        self,
        message: str = "",
        *,
        peer: object = None,
        address: object = None,
        protocol: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.peer = peer
        self.address = address
        self.protocol = protocol

    def __str__(self) -> str:
        context = [
            f"{name} {value}"
            for name, value in (
                ("peer", self.peer),
                ("address", self.address),
                ("protocol", self.protocol),
            )
            if value is not None
        ]
        return f"{self.message} ({', '.join(context)})" if context else self.message


# --- identity -----------------------------------------------------------------------------------


class IdentityError(CarrickError, ValueError):
    """A key, peer id, signature or envelope is not what it claims to be."""


class InvalidKey(IdentityError):
    """A key that cannot be decoded, or whose type or size is refused."""


class InvalidPeerId(IdentityError):
    """Text or bytes that are no peer id; the message says why."""


class InvalidSignature(IdentityError):
    """A signature that does not verify."""


class InvalidEnvelope(IdentityError):
    """A signed envelope or peer record that is malformed, or signed by somebody else."""


class KeyFileError(CarrickError):
    """A key file that cannot be read, written or understood."""


class FileError(CarrickError):
    """A file that was asked for cannot be written."""


class PeerstoreError(CarrickError):
    """A peerstore's file that cannot be opened, read or written."""


# --- addressing ---------------------------------------------------------------------------------


class AddressError(CarrickError, ValueError):
    """Something is wrong with an address."""


class InvalidAddress(AddressError):
    """Text or bytes that are no multiaddr."""


class InvalidCid(AddressError):
    """Text or bytes that are no content id; the message says why."""


class UnsupportedAddress(AddressError):
    """A valid multiaddr that no transport of this host can use."""


class ResolutionError(AddressError):
    """A name that could not be resolved, or resolved to too much."""


# --- the wire -----------------------------------------------------------------------------------


class ProtocolError(CarrickError):
    """The other side broke the protocol: its stream or connection ends, nothing else does."""


class MessageTooLarge(ProtocolError):
    """A message announces or has more bytes than its limit."""


class NegotiationError(ProtocolError):
    """Protocol negotiation failed."""


class HandshakeError(ProtocolError):
    """A security handshake failed."""


class PeerIdMismatch(HandshakeError):
    """The other side proved an identity, but not the expected one."""


class BothDialed(HandshakeError):
    """The other side dialled us at the same moment, from the port that we dialled: both began."""


class MuxerError(ProtocolError):
    """The other side broke the muxer's protocol. `code` is what GoAway tells it."""

    def __init__(self, message: str = "", *, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


# --- reaching and being reached -----------------------------------------------------------------


class DialError(CarrickError):
    """A peer could not be reached. `causes` has one entry for each address that was tried."""

    def __init__(
        self,
        message: str = "",
        *,
        peer: object = None,
        causes: Sequence[tuple[object, BaseException]] = (),
    ) -> None:
        super().__init__(message, peer=peer)
        self.causes = tuple(causes)

    def __str__(self) -> str:
        lines = [super().__str__()]
        lines += [f"  {address}: {cause or type(cause).__name__}" for address, cause in self.causes]
        return "\n".join(lines)


class NoAddresses(DialError):
    """No address is known for the peer."""


class DialBackoff(CarrickError):
    """The address failed a short while ago and is not tried again yet."""


class ListenError(CarrickError):
    """An address cannot be listened on."""


class ConnectionGated(CarrickError):
    """The connection gater refused."""


class PeerTimeout(CarrickError, TimeoutError):
    """The other side did not answer in time."""


class ProtocolNotSupported(CarrickError):
    """The peer speaks none of the protocols that were asked for."""


class RequestRefused(CarrickError):
    """A peer understood what we asked it for, and does not do it."""


class PrivateNetworkRequired(CarrickError):
    """`LIBP2P_FORCE_PNET=1` is set, and no pre-shared key was given."""


class LimitedConnection(CarrickError):
    """Only a relayed connection is there, and the protocol did not opt in to one."""


class ResourceLimitExceeded(CarrickError):
    """A resource scope is full.

    Args:
        scope: the scope's name, such as `peer 12D3KooW…`.
        limit: the limit's name, as `HostBuilder.limits` and `--limit` take it.
        maximum: the limit's value.
        present: what is reserved now.
        requested: what was asked for beyond it.
    """

    def __init__(
        self, *, scope: str, limit: str, maximum: int, present: int, requested: int = 1
    ) -> None:
        super().__init__(
            f"{scope}: {limit} is {maximum}, {present} in use, {requested} more asked for; "
            f"raise it with .limits({limit}=…) or --limit {limit}=…"
        )
        self.scope = scope
        self.limit = limit
        self.maximum = maximum
        self.present = present
        self.requested = requested


# --- streams and connections --------------------------------------------------------------------


class ConnectionClosed(CarrickError, trio.BrokenResourceError):
    """The connection has ended. `code` is the close code, `remote` tells which side closed it."""

    def __init__(
        self,
        message: str = "connection closed",
        *,
        code: int = 0,
        remote: bool = False,
        peer: object = None,
    ) -> None:
        super().__init__(message, peer=peer)
        self.code = code
        self.remote = remote


class StreamReset(CarrickError, trio.BrokenResourceError):
    """The stream was reset. `code` is the reset code, `remote` tells which side did it."""

    def __init__(
        self,
        message: str = "stream reset",
        *,
        code: int = 0,
        remote: bool = False,
        peer: object = None,
        protocol: str | None = None,
    ) -> None:
        super().__init__(message, peer=peer, protocol=protocol)
        self.code = code
        self.remote = remote


PEER_FAILURES = (CarrickError, trio.BrokenResourceError, trio.ClosedResourceError)
"""What a peer, or the network between, can make of anything that is done with it."""
