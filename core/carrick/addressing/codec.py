"""Multiaddrs as text and as bytes, read strictly.

The address type is `multiaddr.Multiaddr`. It does not check bytes, reads past the end of truncated
ones, and takes text such as `/tcp/+1` or `//`; so whatever comes from a peer, a person or the DNS
is read here, and a `Multiaddr` that passed prints and re-encodes to exactly itself.

Bytes: components in a row, each a varint protocol code, for protocols of variable size a varint
length, and the value. Source: multiformats `multiaddr` specification and its protocol table.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import NamedTuple, TypeAlias
from urllib.parse import quote, unquote

from multiaddr import Multiaddr
from multiaddr.codecs import CodecBase, codec_by_name
from multiaddr.exceptions import ProtocolNotFoundError
from multiaddr.protocols import REGISTRY, Protocol

from carrick.errors import InvalidAddress, InvalidPeerId, ProtocolError
from carrick.identity import PeerId
from carrick.interfaces import Buffer
from carrick.wire import decode_varint, encode_varint

# Our own limits, as the specification has none. A relay's address with two certificate hashes and
# two peer ids takes 210 bytes; a garlic64 address, the longest kind, about 400.
MAX_BYTES = 1024
MAX_TEXT = 4096
MAX_PARTS = 32
CACHE_SIZE = 2048

Parts: TypeAlias = tuple[tuple[str, str | None], ...]

_ALIASES = {"ipfs": "p2p"}  # specification: addressing, "Historical Note"
# Values that have more than one spelling. All others must be given as they are printed.
_MANY_SPELLINGS = frozenset({"ip6", "p2p", "unix", "http-path", "onion", "onion3", "garlic32"})
_NAMES = frozenset({"dns", "dns4", "dns6", "dnsaddr", "sni"})
_MAX_NAME = 254  # RFC 1035 2.3.4, with a final dot
_ZONE = re.compile(r"[!-$&-.0-~]{1,64}")  # an interface's name or number: no space, %, /


class _Kind(NamedTuple):
    name: str
    prefix: bytes
    has_value: bool
    size: int | None  # bytes of the value; None: a varint length stands before it


# The most frequent protocols, whose values are read without the library's codecs: those take long
# to import, and to call.
_SIZES = {"ip4": 4, "ip6": 16, "tcp": 2, "udp": 2, "p2p": None}
_ONE_FORM = ("ip4", "tcp", "udp")  # whatever their bytes are


def _kind(protocol: Protocol) -> _Kind:
    name, prefix = protocol.name, encode_varint(protocol.code)
    if protocol.codec is None:
        return _Kind(name, prefix, False, 0)
    if name in _SIZES:
        return _Kind(name, prefix, True, _SIZES[name])
    size = codec_by_name(protocol.codec).SIZE
    return _Kind(name, prefix, True, size // 8 if size > 0 else None)


@lru_cache(128)
def _codec(name: str) -> tuple[CodecBase, Protocol]:
    protocol = REGISTRY.find_by_name(name)
    return codec_by_name(protocol.codec), protocol


@lru_cache(128)
def _kind_by_name(name: str) -> _Kind:
    try:
        return _kind(REGISTRY.find_by_name(_ALIASES.get(name, name)))
    except ProtocolNotFoundError:
        raise InvalidAddress(f"unknown protocol {name[:40]!r}") from None


@lru_cache(128)
def _kind_by_code(code: int) -> _Kind:
    try:
        return _kind(REGISTRY.find_by_code(code))
    except ProtocolNotFoundError:
        raise InvalidAddress(f"unknown protocol code {code:#x}") from None


def parse_address(text: str) -> Multiaddr:
    """Read an address that a person, a file or a TXT record gave, such as `/ip4/192.0.2.1/tcp/1`.

    `/ipfs/<peer id>` is read as `/p2p/<peer id>`, and peer ids are taken as base58 and as CID.
    `/ip6zone/<interface>` is taken before `/ip6/…` only.

    Raises:
        InvalidAddress: it is no multiaddr; the message says which part is wrong.
    """
    if len(text) > MAX_TEXT:
        raise InvalidAddress(f"an address of {len(text)} characters; at most {MAX_TEXT} are read")
    try:
        return _parse(text)
    except InvalidAddress as error:
        error.address = repr(text if len(text) <= 200 else text[:200] + "…")
        raise


def address_from_bytes(data: Buffer) -> Multiaddr:
    """Read an address that came over the wire. The result is cached.

    Zones (`/ip6zone/…`) are refused: they mean something on their own host only.

    Raises:
        InvalidAddress: it is no multiaddr, has varints that are not in their shortest form, a
            value of the wrong size, or is longer than `MAX_BYTES`.
    """
    if len(data) > MAX_BYTES:
        raise InvalidAddress(f"an address of {len(data)} bytes; at most {MAX_BYTES} are read")
    return _address(bytes(data))


def parts(address: Multiaddr) -> Parts:
    """The components of `address`: (protocol name, value); the value of `/ws` and alike is None.

    Raises:
        InvalidAddress: `address` was made from bytes or text that are no address.
    """
    data = address.to_bytes()
    if len(data) > MAX_BYTES:
        raise InvalidAddress(f"an address of {len(data)} bytes; at most {MAX_BYTES} are read")
    return _decode(data)


def address_text(address: Multiaddr) -> str:
    """As `str(address)`, without the library's codecs, which take long to import.

    Raises:
        InvalidAddress: `address` was made from bytes or text that are no address.
    """
    text = ""
    for name, value in parts(address):
        text += f"/{name}"
        if value is not None:
            text += value if name == "unix" else f"/{value}"
    return text


def encode_part(name: str, value: str | None) -> bytes:
    """The bytes of one component.

    Raises:
        InvalidAddress: no such protocol, or no such value of it.
    """
    kind = _kind_by_name(name)
    if not kind.has_value:
        if value is not None:
            raise InvalidAddress(f"/{name} takes no value")
        return kind.prefix
    if not value:
        raise InvalidAddress(f"/{name} needs a value")
    try:
        encoded = _encode_value(kind, value)
        canonical = _decode_value(kind, encoded)
    except InvalidAddress:
        raise
    except Exception as error:  # the library's codecs raise whatever their own libraries raise
        raise InvalidAddress(f"{value[:80]!r} is no value of /{name}: {error}") from error
    if canonical != value and kind.name not in _MANY_SPELLINGS:
        raise InvalidAddress(f"{value[:80]!r} is no value of /{name}; write it {canonical!r}")
    length = b"" if kind.size is not None else encode_varint(len(encoded))
    return kind.prefix + length + encoded


@lru_cache(128)
def _parse(text: str) -> Multiaddr:
    return Multiaddr(_encode(text))


@lru_cache(CACHE_SIZE)
def _address(data: bytes) -> Multiaddr:
    if any(name == "ip6zone" for name, _ in _decode(data)):
        raise InvalidAddress("an address with a zone, which means nothing on another host")
    return Multiaddr(data)


def _encode(text: str) -> bytes:
    if not text.startswith("/"):
        raise InvalidAddress("an address starts with a slash, as in /ip4/127.0.0.1/tcp/4001")
    pieces = text[1:].split("/")
    encoded = bytearray()
    at = 0
    while at < len(pieces):
        name = pieces[at]
        at += 1
        if not name:
            raise InvalidAddress("a slash too many, or nothing at all")
        value: str | None = None
        if name == "unix":  # its path takes all that follows
            value = "/" + "/".join(pieces[at:])
            at = len(pieces)
        elif _kind_by_name(name).has_value:
            value = pieces[at] if at < len(pieces) else ""
            at += 1
        encoded += encode_part(name, value)
        if len(encoded) > MAX_BYTES:
            raise InvalidAddress(f"the address takes more than {MAX_BYTES} bytes")
    result = bytes(encoded)
    _decode(result)  # what concerns more than one component
    return result


@lru_cache(CACHE_SIZE)
def _decode(data: bytes) -> Parts:
    if not data:
        raise InvalidAddress("an empty address")
    decoded: list[tuple[str, str | None]] = []
    at = 0
    while at < len(data):
        if len(decoded) == MAX_PARTS:
            raise InvalidAddress(f"an address of more than {MAX_PARTS} components")
        code, at = _varint(data, at)
        kind = _kind_by_code(code)
        if not kind.has_value:
            decoded.append((kind.name, None))
            continue
        size = kind.size
        if size is None:
            size, at = _varint(data, at)
        end = at + size
        if end > len(data):
            raise InvalidAddress(f"the value of /{kind.name} is cut off")
        decoded.append((kind.name, _checked_value(kind, data[at:end])))
        at = end
    for index, (name, _) in enumerate(decoded):
        following = decoded[index + 1][0] if index + 1 < len(decoded) else None
        if name == "ip6zone" and following != "ip6":
            raise InvalidAddress("/ip6zone stands before /ip6")
        if name == "unix" and following is not None:
            raise InvalidAddress("/unix stands last: in text, its path takes all that follows")
    return tuple(decoded)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    if at < len(data) and data[at] < 0x80:  # most are of one byte
        return data[at], at + 1
    try:
        decoded = decode_varint(data, at)
    except ProtocolError as error:
        raise InvalidAddress(error.message) from None
    if decoded is None:
        raise InvalidAddress("the address is cut off")
    return decoded


def _checked_value(kind: _Kind, data: bytes) -> str:
    try:
        text = _decode_value(kind, data)
        if kind.name in _ONE_FORM:
            return text
        again = _encode_value(kind, text)
    except InvalidAddress:
        raise
    except Exception as error:  # the library's codecs raise whatever their own libraries raise
        raise InvalidAddress(f"a wrong value of /{kind.name}: {error}") from error
    if again != data:
        raise InvalidAddress(f"the value of /{kind.name} is not in its only form")
    return text


def _encode_value(kind: _Kind, text: str) -> bytes:
    match kind.name:
        case "p2p":
            try:
                return PeerId.parse(text).to_bytes()
            except InvalidPeerId as error:
                raise InvalidAddress(error.message) from error
        case "tcp" | "udp":
            return int(text).to_bytes(2, "big")
        case "ip4":
            return ipaddress.IPv4Address(text).packed
        case "ip6":
            # The library reads more than the standard forms, among them plain numbers.
            if "%" in text:
                raise InvalidAddress(f"{text[:80]!r}: a zone is written /ip6zone/<zone>/ip6/<ip>")
            return ipaddress.IPv6Address(text).packed
        case "unix":
            # With its first slash, as go-multiaddr has it; the library strips that.
            return unquote(text, errors="strict").encode()
        case "ip6zone":
            if not _ZONE.fullmatch(text):
                raise InvalidAddress(f"{text[:80]!r} is no zone: 1 to 64 characters, no space")
            return text.encode()
        case name if name in _NAMES and len(text) > _MAX_NAME:
            raise InvalidAddress(f"a name of {len(text)} characters; at most {_MAX_NAME} are read")
        case _:
            codec, protocol = _codec(kind.name)
            encoded: bytes = codec.to_bytes(protocol, text)
            return encoded


def _decode_value(kind: _Kind, data: bytes) -> str:
    match kind.name:
        case "p2p":
            try:
                return str(PeerId(data))
            except InvalidPeerId as error:
                raise InvalidAddress(error.message) from error
        case "tcp" | "udp":
            return str(int.from_bytes(data, "big"))
        case "ip4":
            return ".".join(map(str, data))
        case "unix":
            path = data.decode()
            bare = path.strip("/")
            if not bare or path != f"/{bare}" or "\\" in path:
                raise InvalidAddress("the path of /unix starts with one slash and ends with none")
            return quote(path)
        case name if name in _NAMES and len(data) > 4 * _MAX_NAME:
            raise InvalidAddress(f"a name of {len(data)} bytes")
        case _:
            codec, protocol = _codec(kind.name)
            text: str = codec.to_string(protocol, data)
            return text
