"""Taking addresses apart, putting them together, and what they reach."""

from __future__ import annotations

import ipaddress

import pytest
from multiaddr import Multiaddr

from carrick.addressing import (
    Reach,
    decapsulate,
    encapsulate,
    endpoint_address,
    expand_unspecified,
    host_ip,
    ip_endpoint,
    is_public,
    is_relayed,
    is_tunnelled,
    join_parts,
    names,
    parse_address,
    parts,
    reach,
    split_peer,
    tcp_endpoint,
    transport_name,
    with_peer,
)
from carrick.errors import InvalidAddress
from carrick.identity import PeerId

QM = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
ED = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
CIRCUIT = f"/ip4/1.2.3.4/tcp/4001/p2p/{QM}/p2p-circuit"


def test_split_peer() -> None:
    rest, peer = split_peer(parse_address(f"/ip4/1.2.3.4/tcp/1/p2p/{QM}"))
    assert str(rest) == "/ip4/1.2.3.4/tcp/1"
    assert peer == PeerId.parse(QM)


def test_split_peer_takes_the_last_only() -> None:
    address = parse_address(CIRCUIT)
    assert split_peer(address) == (address, None)
    assert split_peer(parse_address(f"{CIRCUIT}/p2p/{ED}")) == (address, PeerId.parse(ED))


def test_split_peer_alone() -> None:
    rest, peer = split_peer(parse_address(f"/p2p/{ED}"))
    assert not rest
    assert peer == PeerId.parse(ED)


def test_with_peer() -> None:
    peer, other = PeerId.parse(ED), PeerId.parse(QM)
    address = parse_address("/ip4/1.2.3.4/tcp/1")
    full = with_peer(address, peer)
    assert str(full) == f"/ip4/1.2.3.4/tcp/1/p2p/{ED}"
    assert with_peer(full, peer) == full
    assert split_peer(full) == (address, peer)
    assert str(with_peer(parse_address(CIRCUIT), peer)) == f"{CIRCUIT}/p2p/{ED}"
    assert str(with_peer(Multiaddr(""), peer)) == f"/p2p/{ED}"
    with pytest.raises(InvalidAddress, match="another peer"):
        with_peer(full, other)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("/ip4/1.2.3.4/tcp/80", ("1.2.3.4", 80)),
        ("/ip6/::1/tcp/0", ("::1", 0)),
        ("/ip6zone/eth0/ip6/fe80::1/tcp/5", ("fe80::1%eth0", 5)),
        ("/ip4/1.2.3.4/tcp/80/ws", None),
        (f"/ip4/1.2.3.4/tcp/80/p2p/{QM}", None),
        ("/ip4/1.2.3.4/udp/80", None),
        ("/ip4/1.2.3.4", None),
        ("/dns4/example.com/tcp/80", None),
        ("/tcp/80", None),
    ],
)
def test_tcp_endpoint(text: str, endpoint: tuple[str, int] | None) -> None:
    address = parse_address(text)
    assert tcp_endpoint(address) == endpoint
    if endpoint is not None:
        assert endpoint_address(endpoint) == address


def test_ip_endpoint() -> None:
    assert ip_endpoint(parse_address("/ip4/1.2.3.4/tcp/80/ws"), "tcp") == ("1.2.3.4", 80)
    assert ip_endpoint(parse_address("/ip6/::1/udp/9/quic-v1"), "udp") == ("::1", 9)
    assert ip_endpoint(parse_address("/ip6/::1/udp/9/quic-v1"), "tcp") is None
    assert ip_endpoint(parse_address("/ip6/::1"), "tcp") is None


def test_endpoint_address() -> None:
    assert str(endpoint_address(("::ffff:1.2.3.4", 5))) == "/ip4/1.2.3.4/tcp/5"
    assert str(endpoint_address(("::1", 5), "udp")) == "/ip6/::1/udp/5"
    for endpoint in [("localhost", 1), ("1.2.3.4", 65536), ("1.2.3.4", -1), ("", 1)]:
        with pytest.raises(InvalidAddress):
            endpoint_address(endpoint)


def test_host_ip() -> None:
    assert host_ip(parse_address("/ip4/1.2.3.4/tcp/1")) == ipaddress.ip_address("1.2.3.4")
    assert str(host_ip(parse_address("/ip6zone/2/ip6/fe80::1"))) == "fe80::1%2"
    assert host_ip(parse_address("/dns/example.com")) is None
    assert host_ip(parse_address("/tcp/1/ip4/1.2.3.4")) is None


def test_encapsulate() -> None:
    outer, inner = parse_address("/ip4/198.51.100.0"), parse_address("/tcp/42")
    assert str(encapsulate(outer, inner)) == "/ip4/198.51.100.0/tcp/42"
    assert encapsulate(Multiaddr(""), inner) == inner == encapsulate(inner, Multiaddr(""))
    half = parse_address("/ws" * 20)
    with pytest.raises(InvalidAddress):
        encapsulate(half, half)


@pytest.mark.parametrize(
    ("text", "inner", "left"),
    [
        ("/ip4/198.51.100.0/tcp/1234/ws", "/ws", "/ip4/198.51.100.0/tcp/1234"),
        ("/ip4/198.51.100.0/tcp/1234/ws", "/tcp/1234/ws", "/ip4/198.51.100.0"),
        ("/ip4/198.51.100.0/tcp/1234/ws", "/tcp/1234", "/ip4/198.51.100.0"),
        ("/tcp/1/tcp/2/tcp/1/ws", "/tcp/1", "/tcp/1/tcp/2"),
        ("/ip4/1.2.3.4/tcp/8000", "/tcp/80", "/ip4/1.2.3.4/tcp/8000"),
        ("/ip4/1.2.3.4", "/ip4/1.2.3.4", ""),
        ("/ws", "/ws/ws", "/ws"),
    ],
)
def test_decapsulate(text: str, inner: str, left: str) -> None:
    assert str(decapsulate(parse_address(text), parse_address(inner))) == left


def test_join_parts_is_the_inverse() -> None:
    address = parse_address(f"{CIRCUIT}/p2p/{ED}")
    assert join_parts(parts(address)) == address
    for wrong in [("tcp", None), ("ws", "1"), ("tcp", ""), ("nonsense", "1")]:
        with pytest.raises(InvalidAddress):
            join_parts((wrong,))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/ip4/1.2.3.4/tcp/1", "tcp"),
        ("/ip4/1.2.3.4/tcp/1/ws", "ws"),
        ("/ip4/1.2.3.4/tcp/1/wss", "wss"),
        ("/ip4/1.2.3.4/tcp/1/tls/ws", "wss"),
        ("/ip4/1.2.3.4/udp/1/quic-v1", "quic-v1"),
        ("/ip4/1.2.3.4/udp/1/quic-v1/webtransport", "webtransport"),
        ("/ip4/1.2.3.4/udp/1/webrtc-direct", "webrtc-direct"),
        (f"{CIRCUIT}/p2p/{ED}", "p2p-circuit"),
        ("/memory/1", "memory"),
        ("/unix/tmp/x", "unix"),
        ("/dnsaddr/example.com", None),
    ],
)
def test_transport_name(text: str, name: str | None) -> None:
    assert transport_name(parse_address(text)) == name


def test_names_and_relayed() -> None:
    assert names(parse_address("/ip4/1.2.3.4/udp/1/quic-v1")) == ("ip4", "udp", "quic-v1")
    assert is_relayed(parse_address(CIRCUIT))
    assert not is_relayed(parse_address("/ip4/1.2.3.4/tcp/1"))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("/ip4/127.0.0.1/tcp/1", Reach.LOOPBACK),
        ("/ip4/127.255.0.1/tcp/1", Reach.LOOPBACK),
        ("/ip6/::1/tcp/1", Reach.LOOPBACK),
        ("/dns/localhost/tcp/1", Reach.LOOPBACK),
        ("/dns4/a.LocalHost./tcp/1", Reach.LOOPBACK),
        ("/ip4/10.1.2.3/tcp/1", Reach.PRIVATE),
        ("/ip4/172.16.0.1/tcp/1", Reach.PRIVATE),
        ("/ip4/172.32.0.1/tcp/1", Reach.PUBLIC),
        ("/ip4/192.168.1.1/tcp/1", Reach.PRIVATE),
        ("/ip6/fd00::1/tcp/1", Reach.PRIVATE),
        ("/ip6/::ffff:10.0.0.1/tcp/1", Reach.PRIVATE),
        ("/ip6/64:ff9b::a00:1/tcp/1", Reach.PRIVATE),
        ("/dns/printer.local/tcp/1", Reach.PRIVATE),
        ("/dns/nas.home.arpa/tcp/1", Reach.PRIVATE),
        ("/ip4/169.254.1.1/tcp/1", Reach.LINK_LOCAL),
        ("/ip6/fe80::1/tcp/1", Reach.LINK_LOCAL),
        ("/ip6zone/eth0/ip6/fe80::1/tcp/1", Reach.LINK_LOCAL),
        ("/ip4/100.64.0.1/tcp/1", Reach.CGNAT),
        ("/ip4/100.128.0.1/tcp/1", Reach.PUBLIC),
        ("/ip4/8.8.8.8/tcp/1", Reach.PUBLIC),
        ("/ip6/2a00:1450::1/udp/1/quic-v1", Reach.PUBLIC),
        ("/ip6/::ffff:8.8.8.8/tcp/1", Reach.PUBLIC),
        ("/ip6/2002:808:808::1/tcp/1", Reach.PUBLIC),
        ("/ip4/0.0.0.0/tcp/1", Reach.UNSPECIFIED),
        ("/ip6/::/tcp/1", Reach.UNSPECIFIED),
        ("/ip6/::ffff:0.0.0.0/tcp/1", Reach.UNSPECIFIED),
        ("/ip4/0.1.2.3/tcp/1", Reach.RESERVED),
        ("/ip4/224.0.0.251/udp/1", Reach.RESERVED),
        ("/ip4/255.255.255.255/udp/1", Reach.RESERVED),
        ("/ip4/192.0.2.1/tcp/1", Reach.RESERVED),
        ("/ip6/2001:db8::1/tcp/1", Reach.RESERVED),
        ("/ip6/ff02::1/tcp/1", Reach.RESERVED),
        ("/dns/example.invalid/tcp/1", Reach.RESERVED),
        ("/dns/example.com/tcp/1", Reach.NAME),
        ("/dns/notlocal/tcp/1", Reach.NAME),
        ("/dnsaddr/bootstrap.libp2p.io", Reach.NAME),
        (CIRCUIT, Reach.RELAYED),
        ("/p2p-circuit", Reach.RELAYED),
        ("/memory/1", Reach.MEMORY),
        ("/unix/tmp/x", Reach.OTHER),
        (f"/p2p/{QM}", Reach.OTHER),
    ],
)
def test_reach(text: str, kind: Reach) -> None:
    address = parse_address(text)
    assert reach(address) is kind
    assert is_public(address) == (kind in (Reach.PUBLIC, Reach.NAME))


def test_tunnelled() -> None:
    assert is_tunnelled(parse_address("/ip6/2002:808:808::1/tcp/1"))
    assert is_tunnelled(parse_address("/ip6/2001:0:53aa:64c::1/tcp/1"))
    assert not is_tunnelled(parse_address("/ip6/2001:4860::1/tcp/1"))
    assert not is_tunnelled(parse_address("/ip4/8.8.8.8/tcp/1"))


def test_expand_unspecified() -> None:
    own = [
        ipaddress.ip_address(text)
        for text in ("127.0.0.1", "192.168.1.2", "::1", "fd00::2", "fe80::1%eth0", "127.0.0.1")
    ]

    def expand(text: str) -> list[str]:
        return [str(address) for address in expand_unspecified(parse_address(text), own)]

    assert expand("/ip4/0.0.0.0/tcp/4001/ws") == [
        "/ip4/127.0.0.1/tcp/4001/ws",
        "/ip4/192.168.1.2/tcp/4001/ws",
    ]
    assert expand("/ip6/::/udp/1/quic-v1") == [
        "/ip6/::1/udp/1/quic-v1",
        "/ip6/fd00::2/udp/1/quic-v1",
    ]
    assert expand("/ip4/8.8.8.8/tcp/1") == ["/ip4/8.8.8.8/tcp/1"]
    assert expand("/memory/1") == ["/memory/1"]
