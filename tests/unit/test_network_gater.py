from __future__ import annotations

import pytest

from carrick.addressing import parse_address
from carrick.identity import PrivateKey
from carrick.interfaces import Direction
from carrick.network import AllowAll, BlockList

ALICE, BOB = PrivateKey.generate().peer_id, PrivateKey.generate().peer_id
HERE = parse_address("/ip4/10.0.0.1/tcp/1")


def test_nothing_is_refused_by_default() -> None:
    gater = AllowAll()
    assert gater.allow_dial_peer(ALICE)
    assert gater.allow_dial(None, HERE)
    assert gater.allow_accept(HERE, HERE)
    assert gater.allow_secured(Direction.INBOUND, ALICE, HERE)


def test_blocked_peers() -> None:
    gater = BlockList()
    gater.block_peer(ALICE)
    assert not gater.allow_dial_peer(ALICE)
    assert not gater.allow_secured(Direction.INBOUND, ALICE, HERE)
    assert gater.allow_dial_peer(BOB)
    gater.unblock_peer(ALICE)
    assert gater.allow_dial_peer(ALICE)


@pytest.mark.parametrize(
    ("subnet", "inside", "outside"),
    [
        ("192.0.2.7", "/ip4/192.0.2.7/tcp/1", "/ip4/192.0.2.8/tcp/1"),
        ("192.0.2.0/24", "/ip4/192.0.2.8/udp/1/quic-v1", "/ip4/192.0.3.8/tcp/1"),
        ("2001:db8::/32", "/ip6/2001:db8:1::2/tcp/1", "/ip6/2001:db9::2/tcp/1"),
        ("192.0.2.0/24", "/ip6/::ffff:192.0.2.1/tcp/1", "/memory/1"),
    ],
)
def test_blocked_addresses(subnet: str, inside: str, outside: str) -> None:
    gater = BlockList()
    gater.block_subnet(subnet)
    assert not gater.allow_dial(ALICE, parse_address(inside))
    assert not gater.allow_accept(HERE, parse_address(inside))
    assert gater.allow_dial(ALICE, parse_address(outside))
    gater.unblock_subnet(subnet)
    assert gater.allow_dial(ALICE, parse_address(inside))


def test_a_senseless_subnet() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        BlockList().block_subnet("nowhere")
