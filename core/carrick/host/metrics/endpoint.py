"""Where metrics are served: what `--metrics` takes."""

from __future__ import annotations

import ipaddress

from carrick.addressing import parse_address, tcp_endpoint
from carrick.errors import InvalidAddress
from carrick.interfaces import Endpoint

__all__ = ["parse_endpoint"]

LOOPBACK = "127.0.0.1"


def parse_endpoint(text: str) -> Endpoint:
    """Read `host:port`, `[ip6]:port`, `:port`, `port`, or a multiaddr `/ip4/…/tcp/…`.

    Without a host it is loopback. The host is an IP address or `localhost`: no name is looked up.

    Raises:
        InvalidAddress: it is none of these; the message says what is wrong.
    """
    if text.startswith("/"):
        endpoint = tcp_endpoint(parse_address(text))
        if endpoint is None:
            raise InvalidAddress(f"{text!r} is no TCP address, such as /ip4/127.0.0.1/tcp/9090")
        return endpoint
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) <= 0xFFFF):
        raise InvalidAddress(f"{text!r} does not end with a port, 0 to 65535")
    return _host(host, text), int(port)


def _host(host: str, text: str) -> str:
    if host in ("", "localhost"):
        return LOOPBACK
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        ip = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        raise InvalidAddress(f"{text!r}: {host!r} is no IP address and not localhost") from None
    if bracketed is not (ip.version == 6):
        raise InvalidAddress(f"{text!r}: IPv6 addresses, and only they, stand in brackets")
    return str(ip)
