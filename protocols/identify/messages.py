"""Identify messages, and the bounds that hold for what strangers say.

On the wire: one or more `Identify` protobuf messages, each behind its length as a varint, up to
the end of the stream. A receiver merges them: single fields of a later message replace those of
an earlier one, lists are joined. Source: libp2p/specs, identify/README.md; that there may be
several messages: go-libp2p, p2p/protocol/identify/id.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carrick.addressing import Multiaddr, address_from_bytes
from carrick.errors import IdentityError, InvalidAddress, ProtocolError
from carrick.identity import PublicKey
from carrick.interfaces import Buffer
from carrick.transports.multistream import check_protocol
from carrick.wire import GeneratedModule, encode_varint, parse_message

if TYPE_CHECKING:
    from carrick.protocols.identify.pb import identify_pb2 as pb
else:
    pb = GeneratedModule("carrick.protocols.identify.pb.identify_pb2")

__all__ = ["Info", "MessageReader", "decode_addresses", "encode_messages", "encode_observed"]

MAX_MESSAGE = 8 * 1024  # bytes of one received message; go's id.go, signedIDSize
MAX_MESSAGES = 10  # received; id.go, maxMessages
MAX_SENT_MESSAGE = 4 * 1024  # bytes; id.go, maxOwnIdentifyMsgSize: rust reads no more
MAX_SENT_MESSAGES = 9  # go's tenth read must find the end of the stream
MAX_PROTOCOLS = 1000  # over all messages; ATTACKS rows 35, 77
MAX_ADDRESSES = 128  # over all messages; ATTACKS promise 11
MAX_VERSION = 256  # bytes of agent and protocol version; ATTACKS row 77


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What a peer says about itself. Nothing of it is verified.

    Attributes:
        public_key: its key.
        protocol_version: the family of protocols, such as `ipfs/0.1.0`.
        agent_version: the program, such as `carrick/0.1.0`. Printable, whatever came.
        protocols: the protocol ids that it serves.
        listen_addresses: where it says that it listens.
        observed_address: where it sees the other side, that is us.
        signed_record: a sealed peer record with its addresses.

    A value that is None or empty was not sent.
    """

    public_key: PublicKey | None = None
    protocol_version: str | None = None
    agent_version: str | None = None
    protocols: tuple[str, ...] = ()
    listen_addresses: tuple[Multiaddr, ...] = ()
    observed_address: Multiaddr | None = None
    signed_record: bytes | None = None


def encode_messages(info: Info, *, spare: int = 0) -> list[bytes]:
    """The messages that say `info`, each of at most 4 KiB, at most nine of them.

    `spare` bytes of the first are left free, for a field that is appended to it.

    The first holds all that fits: implementations other than go read only that one. What does not
    fit into nine messages is left out. The signed record, which cannot be cut, goes into the first
    message if that holds everything else, otherwise it comes last and alone.

    Raises:
        ValueError: a single value does not fit into a message.
    """
    head = pb.Identify()
    if info.public_key is not None:
        head.public_key = info.public_key.to_protobuf()
    if info.observed_address is not None:
        head.observed_address = info.observed_address.to_bytes()
    if info.protocol_version is not None:
        head.protocol_version = _version(info.protocol_version)
    if info.agent_version is not None:
        head.agent_version = _version(info.agent_version)
    messages = [head]
    room = MAX_SENT_MESSAGE - head.ByteSize() - spare
    values = [(True, name.encode()) for name in info.protocols]
    values += [(False, address.to_bytes()) for address in info.listen_addresses]
    most = MAX_SENT_MESSAGES - (info.signed_record is not None)
    for is_protocol, value in values:
        size = _field_size(value)
        if size > room:
            if len(messages) == most:
                break
            messages.append(pb.Identify())
            room = MAX_SENT_MESSAGE
        (messages[-1].protocols if is_protocol else messages[-1].listen_addresses).append(value)
        room -= size
    if info.signed_record is not None:
        if len(messages) > 1 or _field_size(info.signed_record) > room:
            messages.append(pb.Identify())
        messages[-1].signed_peer_record = info.signed_record
    encoded = [message.SerializeToString() for message in messages]
    if any(len(message) > MAX_SENT_MESSAGE for message in encoded):
        raise ValueError(f"a value does not fit into an identify message of {MAX_SENT_MESSAGE} B")
    return encoded


def encode_observed(address: Multiaddr) -> bytes:
    """The field that tells a peer where we see it; appended to a message it becomes a part of it,
    as with every protobuf message."""
    return pb.Identify(observed_address=address.to_bytes()).SerializeToString()


class MessageReader:
    """Merges the messages of one stream, within the bounds above. No I/O."""

    __slots__ = ("_count", "_merged")

    def __init__(self) -> None:
        self._merged = pb.Identify()
        self._count = 0

    def receive(self, payload: Buffer) -> None:
        """Take the next message, of which the caller has checked that it has at most 8 KiB.

        Raises:
            ProtocolError: it is malformed, or with it there is more than a bound allows.
        """
        self._count += 1
        if self._count > MAX_MESSAGES:
            raise ProtocolError(f"more than {MAX_MESSAGES} identify messages")
        merged, message = self._merged, parse_message(pb.Identify, payload)
        if len(merged.protocols) + len(message.protocols) > MAX_PROTOCOLS:
            raise ProtocolError(f"more than {MAX_PROTOCOLS} protocols")
        if len(merged.listen_addresses) + len(message.listen_addresses) > MAX_ADDRESSES:
            raise ProtocolError(f"more than {MAX_ADDRESSES} listen addresses")
        if max(len(message.agent_version), len(message.protocol_version)) > MAX_VERSION:
            raise ProtocolError(f"agent or protocol version of more than {MAX_VERSION} bytes")
        merged.MergeFrom(message)

    def finish(self) -> Info:
        """What was said, after the end of the stream.

        Texts that are not UTF-8, protocol ids that cannot be negotiated and addresses that are
        none are left out one by one, as go does: a newer peer may know kinds that we do not.

        Raises:
            ProtocolError: there was no message, or the public key is none.
        """
        if not self._count:
            raise ProtocolError("the stream ended without an identify message")
        message = self._merged
        observed = decode_addresses([message.observed_address])
        return Info(
            public_key=_public_key(message.public_key) if message.public_key else None,
            protocol_version=_printable(message.protocol_version) or None,
            agent_version=_printable(message.agent_version) or None,
            protocols=_protocols(message.protocols),
            listen_addresses=decode_addresses(message.listen_addresses),
            observed_address=observed[0] if observed else None,
            signed_record=message.signed_peer_record or None,
        )


def decode_addresses(encoded: Iterable[bytes]) -> tuple[Multiaddr, ...]:
    """Those of `encoded` that are multiaddrs, in their order, each once."""
    found: dict[Multiaddr, None] = {}
    for data in encoded:
        try:
            found[address_from_bytes(data)] = None
        except InvalidAddress:
            continue
    return tuple(found)


def _protocols(names: Iterable[bytes]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for name in names:
        try:
            protocol = name.decode()
            check_protocol(protocol)
        except ValueError:
            continue
        found[protocol] = None
    return tuple(found)


def _public_key(data: bytes) -> PublicKey:
    try:
        return PublicKey.from_protobuf(data)
    except IdentityError as error:
        raise ProtocolError(f"identify with a bad public key: {error}") from error


def _printable(text: bytes) -> str:
    """A stranger's text, safe to show on a terminal, and not longer than it was."""
    decoded = text.decode(errors="replace")
    if decoded.isprintable() and "\ufffd" not in decoded:
        return decoded
    return "".join(c if c.isprintable() and c != "\ufffd" else "?" for c in decoded)


def _version(text: str) -> bytes:
    encoded = text.encode()
    if len(encoded) > MAX_VERSION:
        raise ValueError(f"a version of {len(encoded)} bytes; the limit is {MAX_VERSION}")
    return encoded


def _field_size(value: bytes) -> int:
    return 1 + len(encode_varint(len(value))) + len(value)
