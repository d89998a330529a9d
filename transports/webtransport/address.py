"""WebTransport addresses: `/ip4|ip6/…/udp/…/quic-v1/webtransport/certhash/…/certhash/…`."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from carrick.addressing import encapsulate, endpoint_address, ip_endpoint, join_parts, names, parts
from carrick.addressing.codec import encode_part
from carrick.interfaces import Endpoint
from carrick.wire import decode_varint

if TYPE_CHECKING:
    from multiaddr import Multiaddr

__all__ = ["Place", "find_place", "webtransport_address"]

_TAIL = ("udp", "quic-v1", "webtransport")
_SHA2_256 = b"\x12\x20"


class Place(NamedTuple):
    """What an address says."""

    endpoint: Endpoint
    hashes: tuple[bytes, ...]
    """Multihashes of the certificates that the server may show, SHA-256 ones only."""


def find_place(address: Multiaddr) -> Place | None:
    """None if it is no WebTransport address of an IP address."""
    protocols = names(address)
    plain = tuple(each for each in protocols if each != "certhash")
    head = 1 + ("ip6zone" in plain)
    if plain[head:] != _TAIL or "certhash" in protocols[: len(plain)]:
        return None
    endpoint = ip_endpoint(address, "udp")
    if endpoint is None:
        return None
    found = (_multihash(value) for _, value in parts(address)[len(plain) :] if value)
    return Place(endpoint, tuple(each for each in found if _is_sha2_256(each)))


def webtransport_address(endpoint: Endpoint, hashes: Sequence[bytes] = ()) -> Multiaddr:
    """The address of a server at `endpoint` whose certificates have these multihashes."""
    tail: list[tuple[str, str | None]] = [("quic-v1", None), ("webtransport", None)]
    tail += [("certhash", _text(each)) for each in hashes]
    return encapsulate(endpoint_address(endpoint, "udp"), join_parts(tuple(tail)))


def _multihash(text: str) -> bytes:
    """The bytes of a `certhash` value, which the address's reader has checked."""
    component = encode_part("certhash", text)
    code = decode_varint(component)
    length = code and decode_varint(component, code[1])
    assert length is not None
    return component[length[1] :]


def _is_sha2_256(multihash: bytes) -> bool:
    return len(multihash) == 34 and multihash.startswith(_SHA2_256)


def _text(multihash: bytes) -> str:
    """In multibase: base64url without padding, as the multiaddr table has it."""
    return "u" + urlsafe_b64encode(multihash).decode().rstrip("=")
