"""What WebSocket addresses say."""

from __future__ import annotations

import pytest

from carrick.addressing import parse_address
from carrick.transports.websocket.address import find_place

IP = "/ip4/192.0.2.1"


@pytest.mark.parametrize(
    "text, endpoint, secure, host, path",
    [
        ("/tcp/1234/ws", ("192.0.2.1", 1234), False, "192.0.2.1:1234", "/"),
        ("/tcp/80/ws", ("192.0.2.1", 80), False, "192.0.2.1", "/"),
        ("/tcp/1234/wss", ("192.0.2.1", 1234), True, "192.0.2.1:1234", "/"),
        ("/tcp/1234/tls/ws", ("192.0.2.1", 1234), True, "192.0.2.1:1234", "/"),
        ("/tcp/1/tls/sni/a.example/ws", ("192.0.2.1", 1), True, "a.example:1", "/"),
        ("/tcp/443/tls/sni/a.example/ws", ("192.0.2.1", 443), True, "a.example", "/"),
        ("/ws", ("192.0.2.1", 80), False, "192.0.2.1", "/"),
        ("/tls/ws", ("192.0.2.1", 443), True, "192.0.2.1", "/"),
        ("/wss", ("192.0.2.1", 443), True, "192.0.2.1", "/"),
        ("/wss/http-path/path%2Fto%2Fend", ("192.0.2.1", 443), True, "192.0.2.1", "/path/to/end"),
        ("/ws/http-path/a%0D%0Ab%20c", ("192.0.2.1", 80), False, "192.0.2.1", "/a%0D%0Ab%20c"),
    ],
)
def test_places(text: str, endpoint: tuple[str, int], secure: bool, host: str, path: str) -> None:
    place = find_place(parse_address(IP + text))
    assert place is not None
    assert (place.endpoint, place.secure, place.host, place.path) == (endpoint, secure, host, path)


def test_ipv6() -> None:
    place = find_place(parse_address("/ip6/2001:db8::1/tcp/81/ws"))
    assert place is not None
    assert (place.endpoint, place.host) == (("2001:db8::1", 81), "[2001:db8::1]:81")
    place = find_place(parse_address("/ip6zone/eth0/ip6/fe80::1/tcp/81/ws"))
    assert place is not None
    assert (place.endpoint, place.host) == (("fe80::1%eth0", 81), "[fe80::1]:81")


@pytest.mark.parametrize(
    "text",
    [
        "/tcp/1",
        "/udp/1/ws",
        "/tcp/1/tls",
        "/tcp/1/tls/wss",
        "/tcp/1/ws/ws",
        "/tcp/1/ws/p2p-circuit",
        "/tcp/1/http-path/a",
    ],
)
def test_what_is_none(text: str) -> None:
    assert find_place(parse_address(IP + text)) is None
    assert find_place(parse_address("/dns4/a.example/tcp/1/ws")) is None
