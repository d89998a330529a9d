"""What the flags and arguments of `carrick dht` and `crawl` mean."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import trio

from carrick.cli.dht.flags import AMINO, LOCAL, DhtFlags, Network, load_network
from carrick.cli.dht.keys import KeyType, parse_key
from carrick.cli.dht.trace import LookupTrace
from carrick.cli.options import Settings
from carrick.cli.output import Output
from carrick.errors import InvalidCid, InvalidPeerId
from carrick.identity import PeerId
from carrick.protocols.kademlia import Hop, HopKind, Mode, Scope

PEER = "12D3KooWPvshGxzf8v9zEnhR1PnvZjbhymPTnN9v8aaYfSG59KNA"
BYTES = PeerId.parse(PEER).to_bytes()
CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
CID_0 = "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR"


def flags(
    network: str = "local", bootstrap: tuple[str, ...] = (), protocol: str | None = None
) -> DhtFlags:
    return DhtFlags(network=network, bootstrap=bootstrap, protocol=protocol)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (PEER, BYTES),
        (PeerId.parse(PEER).to_cid(), BYTES),
        (f"/ipns/{PEER}", b"/ipns/" + BYTES),
        (f"/ipns/{PeerId.parse(PEER).to_cid()}", b"/ipns/" + BYTES),
        (f"/pk/{PEER}", b"/pk/" + BYTES),
        ("/mine/abc", b"/mine/abc"),
        ("0x0102ff", b"\x01\x02\xff"),
    ],
)
def test_keys(text: str, key: bytes) -> None:
    assert parse_key(text) == key


def test_a_cid_stands_for_its_multihash() -> None:
    assert parse_key(CID) == parse_key(CID_0)
    assert parse_key(CID)[:2] == b"\x12\x20"


@pytest.mark.parametrize("text", ["", "0x", "0xzz", "/" + "x" * 2000])
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(click.UsageError):
        parse_key(text)


def test_what_only_looks_like_one() -> None:
    with pytest.raises(InvalidCid):
        parse_key("nonsense")
    for text in ("1234", "/ipns/abc", "/pk/"):
        with pytest.raises(InvalidPeerId):
            parse_key(text)


def test_networks_by_name() -> None:
    assert load_network("amino") is AMINO
    assert load_network("local") is LOCAL
    assert LOCAL.bootstrap == ()  # nobody is asked who was not named
    assert AMINO.scope == "wan"
    assert len(flags("amino").bootstrap_peers()) == 5


def test_a_network_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    address = f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}"
    path.write_text(f'protocol = "/mine/kad/1.0.0"\nbootstrap = ["{address}"]\nscope = "lan"\n')
    assert load_network(str(path)) == Network("/mine/kad/1.0.0", (address,), "lan")
    asked = flags(str(path), protocol="/other/1")
    assert asked.described().protocol == "/other/1"
    assert [each.id for each in asked.bootstrap_peers()] == [PeerId.parse(PEER)]
    options = asked.options(Mode.CLIENT, bootstrap=True)
    assert options.networks[0].scope is Scope.LAN
    assert [str(each) for each in options.bootstrap] == [address]


@pytest.mark.parametrize(
    "text",
    ["x", 'other = "1"', 'scope = "moon"', "protocol = 1", 'protocol = "x"', "bootstrap = [1]"],
)
def test_what_is_no_network(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(click.UsageError):
        load_network(str(path))
    with pytest.raises(click.UsageError):
        load_network(str(tmp_path / "nothing"))


def test_without_bootstrap_peers_it_says_so() -> None:
    """A3: a clear error."""
    with pytest.raises(click.UsageError, match="--bootstrap"):
        flags().bootstrap_peers()
    for wrong in ("/ip4/127.0.0.1/tcp/1", "junk"):
        with pytest.raises(click.UsageError):
            flags(bootstrap=(wrong,)).bootstrap_peers()


def test_only_the_public_network_is_guarded_against_neighbours() -> None:
    assert flags("amino").settings().max_per_group == 3
    assert flags().settings().max_per_group is None


def test_values_stand_under_names() -> None:
    values = KeyType(value=True)
    assert values.convert(f"/ipns/{PEER}", None, None) == b"/ipns/" + BYTES
    for text in (CID, PEER, "0x01"):
        with pytest.raises(click.UsageError, match="findprovs"):
            values.convert(text, None, None)
        assert KeyType().convert(text, None, None) == parse_key(text)


def test_a_full_table_is_asked_for() -> None:
    asked = DhtFlags(network="local", bootstrap=(), protocol=None, full_table=True)
    assert asked.options(Mode.CLIENT).full_table
    assert not flags().options(Mode.CLIENT).full_table


async def test_a_lookup_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = (PeerId(b"\x12\x20" + bytes([each]) * 32) for each in range(3))
    trace = LookupTrace(Output(Settings(json=True), "dht"), show=True)
    now = trio.current_time()
    for hop in (
        Hop(HopKind.ASKED, first, now),
        Hop(HopKind.ANSWERED, first, now, 0.01, (second, third)),
        Hop(HopKind.ASKED, second, now),
        Hop(HopKind.FOUND, second, now, 0.01, (first,), 1),
        Hop(HopKind.ASKED, third, now),
        Hop(HopKind.ANSWERED, first, now, 0.01, (second,)),  # nobody learned of anybody by that
        Hop(HopKind.FAILED, third, now, 0.01, error="gone"),
    ):
        trace(hop)
    assert (trace.hops, trace.rpcs) == (2, 3)
    assert trace.fields["lookup_ms"] >= 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert '"event": "failed"' in lines[-1]
    assert '"error": "gone"' in lines[-1]
