"""Multiaddrs from text and from bytes: what is read, and what is refused."""

from __future__ import annotations

import pytest
from multiaddr import Multiaddr

from carrick.addressing import MAX_BYTES, address_from_bytes, address_text, parse_address, parts
from carrick.errors import InvalidAddress

QM = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
ED = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
HASH = "uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g"

CANONICAL = [
    "/ip4/127.0.0.1/tcp/0",
    "/ip4/192.0.2.1/tcp/65535/ws",
    "/ip6/::1/tcp/4001",
    "/ip6/2001:db8::a/udp/4001/quic-v1",
    "/ip6/::ffff:1.2.3.4/tcp/1",
    f"/ip4/1.2.3.4/udp/4001/quic-v1/webtransport/certhash/{HASH}/certhash/{HASH}/p2p/{ED}",
    f"/ip4/1.2.3.4/udp/9/webrtc-direct/certhash/{HASH}/p2p/{QM}",
    f"/ip4/1.2.3.4/tcp/4001/p2p/{QM}/p2p-circuit/p2p/{ED}",
    f"/p2p/{QM}",
    "/dns/example.com/tcp/443/wss",
    "/dns4/node1/tcp/443/tls/sni/example.com/ws",
    "/dns6/a-b.example/tcp/1",
    "/dnsaddr/bootstrap.libp2p.io",
    "/dns/münchen.example/tcp/1",
    "/ip4/10.0.0.0/ipcidr/8",
    "/memory/18446744073709551615",
    "/unix/tmp/a.sock",
    "/ip4/1.2.3.4/tcp/80/http/http-path/a%2Fb",
    "/onion/aaimaq4ygg2iegci:80",
    "/onion3/vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd:1234",
    "/garlic32/566niximlxdzpanmn4qouucvua3k7neniwss47li5r6ugoertzuq",
    "/ip6zone/eth0/ip6/fe80::1/tcp/5",
    "/ip4/127.0.0.1/udp/1234/quic",
    "/ip4/1.2.3.4/sctp/1",
]


@pytest.mark.parametrize("text", CANONICAL)
def test_round_trip(text: str) -> None:
    address = parse_address(text)
    assert str(address) == text
    assert parse_address(str(address)) == address
    if "ip6zone" not in text:
        assert address_from_bytes(address.to_bytes()) == address


# The text and bytes of go-multiaddr's own test table.
VECTORS = [
    ("/ip4/1.2.3.4", "0401020304"),
    ("/ip4/127.0.0.1/udp/1234", "047f000001910204d2"),
    ("/ip4/127.0.0.1/tcp/4321", "047f0000010610e1"),
    (
        "/ip6/2001:8a0:7ac5:4201:3ac9:86ff:fe31:7095",
        "29200108a07ac542013ac986fffe317095",
    ),
    (
        "/ip4/127.0.0.1/udp/1234/quic-v1",
        "047f000001910204d2cd03",
    ),
    (
        "/p2p/QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC",
        "a503221220d52ebb89d85b02a284948203a62ff28389c57c9f42beec4ec20db76a68911c0b",
    ),
    ("/unix/a/b/c/d/e", "90030a2f612f622f632f642f65"),
]


@pytest.mark.parametrize(("text", "encoded"), VECTORS)
def test_vectors(text: str, encoded: str) -> None:
    assert parse_address(text).to_bytes().hex() == encoded
    assert str(address_from_bytes(bytes.fromhex(encoded))) == text


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (f"/ipfs/{QM}", f"/p2p/{QM}"),
        (f"/ip4/1.2.3.4/tcp/1/ipfs/{ED}", f"/ip4/1.2.3.4/tcp/1/p2p/{ED}"),
        ("/ip6/2001:DB8:0::A/tcp/1", "/ip6/2001:db8::a/tcp/1"),
        (
            "/p2p/bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe",
            "/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        ),
    ],
)
def test_other_spellings(text: str, canonical: str) -> None:
    assert str(parse_address(text)) == canonical
    assert address_text(parse_address(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "//",
        "///",
        "ip4/1.2.3.4/tcp/1",
        "/ip4/1.2.3.4/tcp/1/",
        "/ip4//1.2.3.4/tcp/1",
        "//ip4/1.2.3.4",
        " /ip4/1.2.3.4",
        "/ip4/1.2.3.4 ",
        "/ip4",
        "/ip4/1.2.3",
        "/ip4/1.2.3.256",
        "/ip4/01.2.3.4",
        "/ip4/::1",
        "/ip6/1.2.3.4",
        "/ip6/fe80::1%eth0",
        "/ip6/:::",
        "/ip6/5",
        "/tcp/+1",
        "/tcp/ 1",
        "/tcp/1_0",
        "/tcp/١",
        "/tcp/-1",
        "/tcp/65536",
        "/tcp/01",
        "/tcp/",
        "/tcp=80",
        "/ip4/1.2.3.4/tcp",
        "/memory/-1",
        "/memory/+1",
        "/memory/18446744073709551616",
        "/ip4/10.0.0.0/ipcidr/256",
        "/ip4/10.0.0.0/ipcidr/ 8",
        "/ws/80",
        "/WS",
        "/nonsense/1",
        "/p2p",
        "/p2p/",
        "/p2p/Qm",
        f"/p2p/{QM}0",
        "/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5",
        "/dns/a..b",
        "/dns/a b",
        "/dns/" + "a" * 64,
        "/dns/" + ".".join(["a" * 60] * 5),
        "/certhash/uAAA",
        f"/certhash/{HASH}=",
        "/certhash/zQmNope",
        "/unix",
        "/unix/",
        "/unix//a",
        "/unix/a/",
        "/http-path/",
        "/http-path/%zz",
        "/onion/aaimaq4ygg2iegci:0",
        "/onion3/short:1",
        "/ip6zone/eth0",
        "/ip6zone/eth0/ip4/1.2.3.4",
        "/ip6zone/a b/ip6/fe80::1",
        "/ip6zone/a%b/ip6/fe80::1",
        "/ip4/1.2.3.4/tcp/1\n",
        "/ip4/1.2.3.4\x00/tcp/1",
        "/ip4/" + "1" * 5000,
        "/ws" * 33,
    ],
)
def test_refused_text(text: str) -> None:
    with pytest.raises(InvalidAddress) as caught:
        parse_address(text)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "encoded",
    [
        "",
        "04",
        "0400",
        "04010203",
        "840001020304",  # the code of ip4, not in its shortest form
        "04010203040600",
        "29" + "00" * 15,
        "ffffff",
        "ffffffffffffffffffffff",
        "80",
        "00",
        "0600",
        "a503",
        "a50300",
        "a503021200",  # a sha256 multihash of no bytes
        "a5038200" + "1220" + "00" * 31,
        "a503a200" + "1220" + "00" * 32,  # the length, not in its shortest form
        "a503231220" + "00" * 33,
        "a503ffffffffffffffff7f00",
        "3500",
        "3503612f62",  # a name with a slash
        "3503616200",
        "3502ff00",
        "90030361ff62",
        "900301",
        "9003012f",
        "9003022f61dd03",  # nothing can stand behind a path
        "2a0465746830",  # a zone, and nothing in it
        "2a046574683029fe800000000000000000000000000001",  # a whole address with a zone
        "d20300",
        "d203021200",
        "dd03" * 33,
    ],
)
def test_refused_bytes(encoded: str) -> None:
    with pytest.raises(InvalidAddress):
        address_from_bytes(bytes.fromhex(encoded))


def test_long_bytes_are_refused_unread() -> None:
    with pytest.raises(InvalidAddress, match="bytes"):
        address_from_bytes(b"\xdd\x03" * (MAX_BYTES // 2 + 1))


def test_long_names_are_refused_quickly() -> None:
    with pytest.raises(InvalidAddress):
        parse_address("/dns/" + "ü" * 4000)
    with pytest.raises(InvalidAddress):
        address_from_bytes(b"\x35\xf0\x07" + "ü".encode() * 504)


def test_parts() -> None:
    address = parse_address(f"/ip6zone/eth0/ip6/fe80::1/udp/1/quic-v1/p2p/{QM}")
    assert parts(address) == (
        ("ip6zone", "eth0"),
        ("ip6", "fe80::1"),
        ("udp", "1"),
        ("quic-v1", None),
        ("p2p", QM),
    )


@pytest.mark.parametrize("data", [b"", b"\xff\xff\xff", b"\x04\x00", b"\xdd\x03" * 600])
def test_parts_of_an_unchecked_address(data: bytes) -> None:
    with pytest.raises(InvalidAddress):
        parts(Multiaddr(data))


def test_bytes_may_be_any_buffer() -> None:
    data = parse_address("/ip4/1.2.3.4/tcp/5").to_bytes()
    assert address_from_bytes(bytearray(data)) == address_from_bytes(memoryview(data))
    assert address_from_bytes(data) is address_from_bytes(bytearray(data))


def test_error_names_address_and_part() -> None:
    with pytest.raises(InvalidAddress) as caught:
        parse_address("/ip4/1.2.3.4/tcp/99999")
    assert "99999" in str(caught.value)
    assert "/ip4/1.2.3.4/tcp/99999" in str(caught.value)
