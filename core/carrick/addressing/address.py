"""Taking addresses apart and putting them together."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Literal, TypeAlias

from multiaddr import Multiaddr

from carrick.addressing.codec import CACHE_SIZE, encode_part, parts
from carrick.errors import InvalidAddress
from carrick.identity import PeerId
from carrick.interfaces import Endpoint

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# The names by which transports are known, the innermost first where addresses nest.
_TRANSPORTS = (
    "p2p-circuit",
    "webrtc",
    "webtransport",
    "webrtc-direct",
    "quic-v1",
    "quic",
    "wss",
    "ws",
    "tcp",
    "udp",
    "memory",
    "unix",
)


@lru_cache(CACHE_SIZE)
def names(address: Multiaddr) -> tuple[str, ...]:
    """The protocol names of `address`, for matching: `("ip4", "udp", "quic-v1")`.

    Raises:
        InvalidAddress: `address` was made from bytes or text that are no address.
    """
    return tuple(name for name, _ in parts(address))


def is_relayed(address: Multiaddr) -> bool:
    """Whether `address` leads over a relay (`/p2p-circuit`)."""
    return "p2p-circuit" in names(address)


def transport_name(address: Multiaddr) -> str | None:
    """The transport that `address` is for: `tcp`, `quic-v1`, `ws`, `wss`, `p2p-circuit`, ….

    `/tls/ws` is `wss`. None if no transport is named, as in `/dnsaddr/…` or `/p2p/…`.
    """
    present = names(address)
    found = next((name for name in _TRANSPORTS if name in present), None)
    return "wss" if found == "ws" and "tls" in present else found


@lru_cache(CACHE_SIZE)
def split_peer(address: Multiaddr) -> tuple[Multiaddr, PeerId | None]:
    """Take the trailing `/p2p/<peer id>` off: (the address without it, the peer id).

    Without one the address comes back as it is, with None. `/p2p/<peer id>` alone leaves the empty
    address, which is false: `if not rest: …`.
    """
    name, value = parts(address)[-1]
    if name != "p2p" or value is None:
        return address, None
    suffix = encode_part(name, value)
    return Multiaddr(address.to_bytes()[: -len(suffix)]), PeerId.parse(value)


def with_peer(address: Multiaddr, peer: PeerId) -> Multiaddr:
    """`address` with `/p2p/<peer>` at its end, unless it is there already.

    Raises:
        InvalidAddress: the address ends with another peer's id, or is too long.
    """
    if address.to_bytes():
        _, present = split_peer(address)
        if present == peer:
            return address
        if present is not None:
            raise InvalidAddress(f"the address is another peer's, not {peer}'s", address=address)
    return encapsulate(address, Multiaddr(encode_part("p2p", str(peer))))


def encapsulate(outer: Multiaddr, inner: Multiaddr) -> Multiaddr:
    """`inner` within `outer`: `/ip4/192.0.2.1` and `/tcp/80` give `/ip4/192.0.2.1/tcp/80`.

    Either may be the empty address.

    Raises:
        InvalidAddress: the result has too many components or bytes.
    """
    joined = Multiaddr(outer.to_bytes() + inner.to_bytes())
    if joined.to_bytes():
        parts(joined)
    return joined


def decapsulate(address: Multiaddr, inner: Multiaddr) -> Multiaddr:
    """`address` up to the last place where all components of `inner` stand in a row.

    Whole components are compared (`/tcp/80` does not match in `/tcp/8000`). An address that does
    not contain `inner` comes back as it is. Specification: addressing, "Decapsulation".
    """
    present, wanted = parts(address), parts(inner)
    for at in range(len(present) - len(wanted), -1, -1):
        if present[at : at + len(wanted)] == wanted:
            return join_parts(present[:at])
    return address


def join_parts(components: tuple[tuple[str, str | None], ...]) -> Multiaddr:
    """The address of these components: the inverse of `parts`.

    Raises:
        InvalidAddress: a component is no valid one, or there are too many.
    """
    joined = Multiaddr(b"".join(encode_part(name, value) for name, value in components))
    if components:
        parts(joined)
    return joined


@lru_cache(CACHE_SIZE)
def host_ip(address: Multiaddr) -> IPAddress | None:
    """The IP address at the start of `address`, with its zone as `scope_id` if it has one.

    An IPv4-mapped IPv6 address comes as the IPv6 address that it is.
    """
    return _leading_ip(address)[0]


def ip_endpoint(address: Multiaddr, protocol: Literal["tcp", "udp"]) -> Endpoint | None:
    """The IP address and port at the start of `address`, whatever follows them.

    None if it does not start with an IP address and a port of `protocol`. A zone stands behind
    the IP address, as in `fe80::1%eth0`.
    """
    ip, used = _leading_ip(address)
    rest = parts(address)[used : used + 1]
    if ip is None or not rest or rest[0][0] != protocol or rest[0][1] is None:
        return None
    return str(ip), int(rest[0][1])


@lru_cache(CACHE_SIZE)
def tcp_endpoint(address: Multiaddr) -> Endpoint | None:
    """Where a plain TCP address leads: `/ip4/…/tcp/…` or `/ip6/…/tcp/…` and nothing more.

    None for any other address. A zone stands behind the IP address, as in `fe80::1%eth0`.
    """
    if names(address) not in (("ip4", "tcp"), ("ip6", "tcp"), ("ip6zone", "ip6", "tcp")):
        return None
    return ip_endpoint(address, "tcp")


@lru_cache(CACHE_SIZE)
def endpoint_address(endpoint: Endpoint, protocol: Literal["tcp", "udp"] = "tcp") -> Multiaddr:
    """The address of a socket's endpoint: `("192.0.2.1", 80)` gives `/ip4/192.0.2.1/tcp/80`.

    An IPv4-mapped IPv6 address, as sockets of both families report it, becomes `/ip4/…`; a zone
    (`fe80::1%eth0`) becomes `/ip6zone/eth0/ip6/fe80::1`.

    Raises:
        InvalidAddress: the host is no IP address, or the port is not in 0 to 65535.
    """
    host, port = endpoint
    if not 0 <= port <= 0xFFFF:
        raise InvalidAddress(f"{port} is no port")
    return Multiaddr(_port_prefix(host, protocol) + port.to_bytes(2, "big"))


@lru_cache(CACHE_SIZE)
def _port_prefix(host: str, protocol: str) -> bytes:
    """An endpoint's address but for the port: many connections come from one host."""
    try:
        ip = _parsed_ip(host)
    except ValueError:
        raise InvalidAddress(f"{host!r} is no IP address") from None
    prefix: bytes = join_parts((*ip_parts(ip), (protocol, "0"))).to_bytes()[:-2]
    return prefix


def ip_parts(ip: IPAddress) -> tuple[tuple[str, str], ...]:
    """`ip` as components: `ip4` or `ip6`, with `ip6zone` before it if it has a zone."""
    if isinstance(ip, ipaddress.IPv4Address):
        return (("ip4", str(ip)),)
    if ip.ipv4_mapped is not None:
        return (("ip4", str(ip.ipv4_mapped)),)
    if ip.scope_id is None:
        return (("ip6", str(ip)),)
    return ("ip6zone", ip.scope_id), ("ip6", str(ip).partition("%")[0])


def _leading_ip(address: Multiaddr) -> tuple[IPAddress | None, int]:
    """The IP address at the start, and how many components it takes."""
    match parts(address)[:2]:
        case (("ip4", str(text)), *_):
            return _parsed_ip(text), 1
        case (("ip6", str(text)), *_):
            return _parsed_ip(text), 1
        case (("ip6zone", str(zone)), ("ip6", str(text))):
            return _parsed_ip(f"{text}%{zone}"), 2
        case _:
            return None, 0


_parsed_ip = lru_cache(CACHE_SIZE)(ipaddress.ip_address)
