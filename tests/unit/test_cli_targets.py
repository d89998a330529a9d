"""What people type to say whom they mean."""

from __future__ import annotations

import click
import pytest

from carrick.addressing import parse_address
from carrick.cli.targets import check_peer_known, parse_target
from carrick.errors import InvalidAddress, InvalidPeerId
from carrick.identity import PeerId

PEER = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("4001", "/ip4/127.0.0.1/tcp/4001"),
        ("192.0.2.7:4001", "/ip4/192.0.2.7/tcp/4001"),
        ("[2001:db8::1]:4001", "/ip6/2001:db8::1/tcp/4001"),
        ("node.example:4001", "/dns/node.example/tcp/4001"),
        (f"/ip4/192.0.2.7/tcp/4001/p2p/{PEER}", f"/ip4/192.0.2.7/tcp/4001/p2p/{PEER}"),
        ("/ip4/192.0.2.7/udp/4001/quic-v1", "/ip4/192.0.2.7/udp/4001/quic-v1"),
    ],
)
def test_addresses(text: str, address: str) -> None:
    assert parse_target(text) == parse_address(address)


def test_peer_id() -> None:
    assert parse_target(PEER) == PeerId.parse(PEER)
    assert parse_target(PeerId.parse(PEER).to_cid()) == PeerId.parse(PEER)


@pytest.mark.parametrize(
    "text",
    ["", "0", "65536", "host:0", "host:port", "host:", ":4001", "2001:db8::1:4001", "a:b:1",
     "@home", "unix:/run/node.sock", "ticketabc", "²"],
)  # fmt: skip
def test_refused_as_usage(text: str) -> None:
    with pytest.raises(click.UsageError):
        parse_target(text)


@pytest.mark.parametrize("text", ["/", "/ip4", "/ip4/300.0.0.1/tcp/1", "/nonsense/1", "/p2p/xyz"])
def test_wrong_multiaddr(text: str) -> None:
    with pytest.raises(InvalidAddress):
        parse_target(text)


def test_wrong_peer_id() -> None:
    with pytest.raises(InvalidPeerId):
        parse_target(PEER[:-1] + "0")


@pytest.mark.parametrize("text", ["4001", "localhost:4001", "[::1]:4001", PEER])
def test_unknown_peer_is_natural_on_this_machine(text: str) -> None:
    check_peer_known(parse_target(text), allow_unknown=False)


@pytest.mark.parametrize("text", ["192.0.2.7:4001", "node.example:4001", "10.0.0.1:4001"])
def test_unknown_peer_elsewhere_must_be_asked_for(text: str) -> None:
    target = parse_target(text)
    check_peer_known(target, allow_unknown=True)
    with pytest.raises(click.UsageError, match="--allow-unknown-peer"):
        check_peer_known(target, allow_unknown=False)
    check_peer_known(parse_target(f"{target}/p2p/{PEER}"), allow_unknown=False)
