"""Addresses: whatever comes in, only `InvalidAddress` comes out, and what passes is canonical."""

from __future__ import annotations

import hashlib
import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st
from multiaddr import Multiaddr
from multiaddr.protocols import PROTOCOLS

from carrick.addressing import (
    MAX_BYTES,
    address_from_bytes,
    decapsulate,
    encapsulate,
    host_ip,
    join_parts,
    names,
    parse_address,
    parts,
    rank,
    reach,
    split_peer,
    tcp_endpoint,
    transport_name,
    with_peer,
)
from carrick.errors import InvalidAddress
from carrick.identity import PeerId

peer_ids = st.binary(min_size=32, max_size=32).map(
    lambda seed: PeerId(b"\x12\x20" + hashlib.sha256(seed).digest())
)
ports = st.integers(0, 65535).map(str)
labels = st.from_regex(r"[a-z]([a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
components = st.one_of(
    st.tuples(st.just("ip4"), st.ip_addresses(v=4).map(str)),
    # As inet_ntop writes them: IPv4-mapped addresses are spelled otherwise by `ipaddress`.
    st.tuples(st.just("ip6"), st.ip_addresses(v=6, network="2000::/3").map(str)),
    st.tuples(st.sampled_from(["tcp", "udp"]), ports),
    st.tuples(
        st.sampled_from(["dns", "dns4", "dns6", "dnsaddr", "sni"]),
        st.lists(labels, min_size=1, max_size=4).map(".".join),
    ),
    st.tuples(st.just("p2p"), peer_ids.map(str)),
    st.tuples(st.just("memory"), st.integers(0, 2**64 - 1).map(str)),
    st.sampled_from(
        [(name, None) for name in ("ws", "wss", "tls", "quic-v1", "webtransport", "p2p-circuit")]
    ),
)
component_lists = st.lists(components, min_size=1, max_size=8).map(tuple)
addresses = component_lists.map(join_parts)


def check(address: Multiaddr) -> None:
    """What holds for every address that passed."""
    text, data = str(address), address.to_bytes()
    assert parse_address(text).to_bytes() == data
    assert len(data) <= MAX_BYTES
    assert join_parts(parts(address)) == address
    rest, peer = split_peer(address)
    if peer is None:
        assert rest == address
    else:
        assert encapsulate(rest, parse_address(f"/p2p/{peer}")) == address
        assert with_peer(address, peer) == address
    names(address), reach(address), host_ip(address), tcp_endpoint(address)
    transport_name(address)
    assert len(rank([address])) <= 1


def read_bytes(data: bytes) -> None:
    try:
        address = address_from_bytes(data)
    except InvalidAddress:
        return
    assert address.to_bytes() == data
    check(address)


def read_text(text: str) -> None:
    try:
        address = parse_address(text)
    except InvalidAddress:
        return
    check(address)


@given(st.binary(max_size=80))
@settings(max_examples=300)
def test_any_bytes(data: bytes) -> None:
    read_bytes(data)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([protocol.code for protocol in PROTOCOLS]), st.binary(max_size=40)
        ),
        max_size=5,
    )
)
@settings(max_examples=300)
def test_any_values_behind_real_codes(pieces: list[tuple[int, bytes]]) -> None:
    data = bytearray()
    for code, value in pieces:
        data += bytes([code & 0x7F | 0x80, code >> 7]) if code > 0x7F else bytes([code])
        data += bytes([len(value)]) + value
    read_bytes(bytes(data))


@given(st.text(max_size=60) | st.from_regex(r"(/[a-z0-9]{1,6}(/[ -~]{0,12})?){1,4}"))
@settings(max_examples=300)
def test_any_text(text: str) -> None:
    read_text(text)


@given(
    st.lists(
        st.sampled_from([protocol.name for protocol in PROTOCOLS]) | st.text(max_size=12),
        max_size=8,
    )
)
@settings(max_examples=300)
def test_any_text_of_real_names(pieces: list[str]) -> None:
    read_text("/" + "/".join(pieces))


@given(component_lists)
def test_good_addresses_pass(given_parts: tuple[tuple[str, str | None], ...]) -> None:
    address = join_parts(given_parts)
    assert parts(address) == given_parts
    assert address_from_bytes(address.to_bytes()) == address
    check(address)


@given(addresses, st.data())
def test_a_cut_address_is_refused_or_ends_between_components(
    address: Multiaddr, data: st.DataObject
) -> None:
    whole = address.to_bytes()
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        short = address_from_bytes(cut)
    except InvalidAddress:
        return
    assert parts(short) == parts(address)[: len(parts(short))]


@given(addresses, addresses)
def test_encapsulate_and_decapsulate(outer: Multiaddr, inner: Multiaddr) -> None:
    joined = encapsulate(outer, inner)
    assert parts(joined) == parts(outer) + parts(inner)
    left = decapsulate(joined, inner)
    assert joined.to_bytes().startswith(left.to_bytes())
    assert len(left.to_bytes()) >= len(outer.to_bytes())


@given(st.lists(addresses, max_size=12))
def test_ranking(peers: list[Multiaddr]) -> None:
    ranked = rank(peers)
    chosen = [address for address, _ in ranked]
    delays = [delay for _, delay in ranked]
    assert len(set(chosen)) == len(chosen) and set(chosen) <= set(peers)
    assert delays == sorted(delays)
    assert not delays or (delays[0] == 0 and delays[-1] <= 10)
    for left_out in set(peers) - set(chosen):
        ip = host_ip(left_out)
        assert (ip is not None and ip.is_unspecified) or "webtransport" in names(left_out)


@given(st.ip_addresses())
def test_every_ip_has_a_reach(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    address = parse_address(f"/ip{ip.version}/{ip}/tcp/1")
    assert host_ip(address) == ip
    check(address)
