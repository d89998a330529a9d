"""WebSocket addresses: `/ws`, `/wss` and `/tls/ws` behind an IP address and a TCP port."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from carrick.addressing import host_ip, parts
from carrick.interfaces import Endpoint

if TYPE_CHECKING:
    from multiaddr import Multiaddr

__all__ = ["Place", "find_place"]

_PORTS = {False: 80, True: 443}  # websockets/README.md, "Addressing": if the port is omitted


@dataclass(frozen=True, slots=True)
class Place:
    """Where a WebSocket address leads.

    Attributes:
        secure: TLS goes first.
        server_name: the name in the address, for TLS and for `Host`; None if there is none.
        path: of the HTTP request, with `/` in front.
        suffix: the components behind the port, as they were spelled, without the path.
    """

    endpoint: Endpoint
    secure: bool
    server_name: str | None
    path: str
    suffix: tuple[tuple[str, str | None], ...]

    @property
    def host(self) -> str:
        """The `Host` header: name or IP address, and the port unless it is the usual one."""
        host, port = self.endpoint
        ip = host.partition("%")[0]
        name = self.server_name or (f"[{ip}]" if ":" in ip else ip)
        return name if port == _PORTS[self.secure] else f"{name}:{port}"


@lru_cache(1024)
def find_place(address: Multiaddr) -> Place | None:
    """What `address` says to the WebSocket transport; None if it is not for it."""
    ip = host_ip(address)
    if ip is None:
        return None
    rest = parts(address)[2 if parts(address)[0][0] == "ip6zone" else 1 :]
    port: str | None = None
    if rest and rest[0][0] == "tcp":
        port, rest = rest[0][1], rest[1:]
    path = "/"
    if rest and rest[-1][0] == "http-path":
        # Quoted anew, so that nothing in it can end the request line.
        path = "/" + quote(unquote(rest[-1][1] or "").removeprefix("/"), safe="/?=&+:@,;~!$'()*")
        rest = rest[:-1]
    server_name: str | None = None
    match rest:
        case (("ws", _),):
            secure = False
        case (("wss", _),) | (("tls", _), ("ws", _)):
            secure = True
        case (("tls", _), ("sni", name), ("ws", _)):
            secure, server_name = True, name
        case _:
            return None
    endpoint = (str(ip), int(port) if port is not None else _PORTS[secure])
    return Place(endpoint, secure, server_name, path, rest)
