"""Finding a gateway by SSDP (UPnP Device Architecture 1.1, section 1.3). No I/O.

A search is an HTTP request in a multicast datagram; each device answers with an HTTP response in a
datagram of its own, whose LOCATION says where its description is.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address
from urllib.parse import urlsplit

from carrick.errors import ProtocolError
from carrick.interfaces import Buffer
from carrick.protocols.portmap.upnp.http import Url

__all__ = ["GROUP", "PORT", "SEARCH_TIME", "TARGETS", "decode_answer", "encode_search", "local_url"]

GROUP, PORT = "239.255.255.250", 1900
SEARCH_TIME = 1  # s; MX: devices wait up to so long before they answer
MAX_ANSWER = 2048  # bytes
MAX_URL = 512  # characters

_GATEWAY = "urn:schemas-upnp-org:device:InternetGatewayDevice:"
_SERVICE = "urn:schemas-upnp-org:service:"
# Some devices of version 2 answer only to that, some answer for their services alone.
TARGETS = (_GATEWAY + "1", _GATEWAY + "2", _SERVICE + "WANIPConnection:1")
_OURS = re.compile(
    r"urn:schemas-upnp-org:(device:InternetGatewayDevice|service:WAN(IP|PPP)Connection):\d+"
)


def encode_search(target: str) -> bytes:
    return (
        "M-SEARCH * HTTP/1.1\r\n"
        f"HOST: {GROUP}:{PORT}\r\n"
        'MAN: "ssdp:discover"\r\n'
        f"MX: {SEARCH_TIME}\r\n"
        f"ST: {target}\r\n\r\n"
    ).encode()


def decode_answer(data: Buffer, sender: str) -> Url:
    """Where the device that answered from IP address `sender` describes itself.

    Raises:
        ProtocolError: it is no answer of a gateway, or leads to another host than the sender.
    """
    message = bytes(data)
    if len(message) > MAX_ANSWER:
        raise ProtocolError(f"an SSDP answer of {len(message)} bytes")
    start, *lines = message.decode("latin-1").split("\r\n")
    if not re.match(r"HTTP/1\.[01] 200\b", start):
        raise ProtocolError("no SSDP answer")
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip().lower(), value.strip())
    if not _OURS.fullmatch(fields.get("st", "")):
        raise ProtocolError("an SSDP answer of something else than a gateway")
    return local_url(fields.get("location", ""), sender)


def local_url(text: str, host: str, base: Url | None = None) -> Url:
    """A URL that a device gave, which must lead to its own IP address.

    Args:
        host: the device's IP address. Whoever answers first on a LAN may be anybody: it shall not
            make us ask others.
        base: what a URL without a host is relative to.

    Raises:
        ProtocolError: it is no HTTP URL, or leads to another host.
    """
    text = text.strip()
    if len(text) > MAX_URL or not text.isascii() or not text.isprintable() or " " in text:
        raise ProtocolError("no URL")
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise ProtocolError(f"no URL: {error}") from None
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    if base is not None and not url.scheme and not url.netloc:
        if not path.startswith("/"):
            path = f"{base.path.partition('?')[0].rpartition('/')[0]}/{path}"
        return Url(base.host, base.port, path)
    try:
        same = IPv4Address(url.hostname or "") == IPv4Address(host)
    except AddressValueError:
        same = False
    if url.scheme != "http" or "@" in url.netloc or not same:
        raise ProtocolError(f"a URL that leads elsewhere: {text[:80]}")
    if port == 0:
        raise ProtocolError("a URL with port 0")
    return Url(host, port or 80, path)
