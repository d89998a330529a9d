"""STUN servers as people name them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import trio

from carrick.addressing import Resolver, ip_endpoint, parse_address
from carrick.errors import AddressError, InvalidAddress, ResolutionError
from carrick.interfaces import Endpoint

__all__ = ["parse_server", "resolve_servers"]

_PER_NAME = 2  # addresses: one of each family, usually


def parse_server(text: str) -> Endpoint:
    """The host, a name or an IP address, and the port; 3478 if there is none.

    Takes `stun.example.org`, `192.0.2.1:3478`, `[2001:db8::1]:3478`, `2001:db8::1`.

    Raises:
        InvalidAddress: it is none of these.
    """
    from carrick.protocols.stun import PORT  # it loads STUN, which most nodes never speak

    host, port = text, str(PORT)
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or rest[:1] not in ("", ":"):
            raise InvalidAddress(f"{text!r} is no STUN server: host, or host:port")
        port = rest[1:] or port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    elif ":" in text:
        host = _ip(text) or ""
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise InvalidAddress(f"{text!r} is no STUN server: host, or host:port")
    return host, int(port)


async def resolve_servers(
    servers: Iterable[Endpoint], *, resolver: Resolver | None = None
) -> list[Endpoint]:
    """Put IP addresses in place of names, all at once; those that lead nowhere are left out.

    Raises:
        ResolutionError: all of them do.
    """
    servers = list(servers)
    found: dict[int, list[Endpoint]] = {}
    failures: list[AddressError] = []

    async def resolve(at: int, host: str, port: int) -> None:
        ip = _ip(host)
        if ip is not None:
            found[at] = [(ip, port)]
            return
        try:
            names = parse_address(f"/dns/{host}/udp/{port}")
            addresses = await (resolver or Resolver()).resolve(names)
        except AddressError as error:
            failures.append(error)
            return
        ends = [ip_endpoint(each, "udp") for each in addresses]
        found[at] = [each for each in ends if each is not None][:_PER_NAME]

    async with trio.open_nursery() as nursery:
        for at, (host, port) in enumerate(servers):
            nursery.start_soon(resolve, at, host, port)
    if failures and not found:
        raise ResolutionError(f"no STUN server has an address: {failures[0].message}")
    return list(dict.fromkeys(each for at in sorted(found) for each in found[at]))


def _ip(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
