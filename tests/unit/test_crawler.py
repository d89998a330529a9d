"""The parts of the crawler that do no I/O."""

from __future__ import annotations

import errno
import random
from datetime import UTC, datetime

import pytest
import trio

from carrick import errors
from carrick.addressing import parse_address
from carrick.identity import PeerId
from carrick.protocols.kademlia import PeerInfo
from carrick.protocols.kademlia.crawler import (
    NAMES,
    AddressKind,
    CrawlOptions,
    Frontier,
    Tally,
    Visit,
    VisitSettings,
    bootstrap_peer,
    parse_go_duration,
)
from carrick.protocols.kademlia.crawler.aiming import AimedKeys
from carrick.protocols.kademlia.crawler.drain import Drain
from carrick.protocols.kademlia.crawler.errors import net_error
from carrick.protocols.kademlia.crawler.frontier import MAX_ADDRESSES
from carrick.protocols.kademlia.crawler.records import go_duration
from carrick.protocols.kademlia.keyspace import common_prefix_length, key_of, peer_key
from carrick.protocols.kademlia.table import RoutingTable

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def peer(number: int) -> PeerId:
    return PeerId(b"\x12\x20" + number.to_bytes(32, "big"))


def info(number: int, *addresses: bytes) -> PeerInfo:
    return PeerInfo(peer(number), addresses)


# --- whom to visit --------------------------------------------------------------------------------


def test_everybody_is_visited_once() -> None:
    frontier = Frontier()
    assert frontier.finished
    assert frontier.add(info(1, b"a"))
    assert not frontier.add(info(1, b"b", b"a"))
    first = frontier.next()
    assert first == info(1, b"a", b"b")  # all that was heard of until then
    assert frontier.next() is None
    assert not frontier.finished
    assert not frontier.add(info(1, b"c"))
    assert frontier.add(info(2))
    frontier.done(peer(1))
    assert not frontier.finished
    assert frontier.next() == info(2)
    frontier.done(peer(2))
    assert frontier.finished
    assert (frontier.visited, frontier.seen, frontier.pending) == (2, 2, 0)


def test_a_limit_counts_what_runs() -> None:
    frontier = Frontier(limit=2)
    for number in range(5):
        frontier.add(info(number))
    assert frontier.next() and frontier.next()
    assert frontier.next() is None
    frontier.done(peer(0))
    assert not frontier.finished
    frontier.done(peer(1))
    assert frontier.finished
    assert [each.id for each in frontier.unvisited()] == [peer(2), peer(3), peer(4)]


def test_the_frontier_is_bounded() -> None:
    frontier = Frontier(max_peers=10)
    for number in range(15):
        frontier.add(info(number))
    assert (frontier.seen, frontier.left_out) == (10, 5)
    frontier.add(info(0, *(b"%d" % number for number in range(1000))))
    first = frontier.next()
    assert first is not None
    assert len(first.encoded) == MAX_ADDRESSES


def test_who_was_visited_before_is_left_out() -> None:
    frontier = Frontier(limit=3)
    frontier.add(info(1))
    frontier.skip([peer(1), peer(2)])
    assert frontier.next() is None
    assert not frontier.add(info(2))
    assert frontier.add(info(3))
    assert frontier.next() == info(3)
    frontier.add(info(4))
    assert frontier.next() is None  # three with those before


# --- which buckets --------------------------------------------------------------------------------


def answer(table: RoutingTable, key: bytes) -> list[PeerInfo]:
    return [PeerInfo(each) for each in table.closest(key_of(key))]


@pytest.mark.parametrize("contacts", [0, 1, 10, 21, 400])
def test_a_drain_reads_all_of_a_table(contacts: int) -> None:
    rng = random.Random(contacts)
    own = PeerId(b"\x12\x20" + rng.randbytes(32))
    table = RoutingTable(peer_key(own), max_per_group=None, max_per_group_and_bucket=None)
    for _ in range(contacts):
        table.answered(PeerId(b"\x12\x20" + rng.randbytes(32)), (), 0.0)
    drain, keys = Drain(own), AimedKeys(rng)
    while (bits := drain.next()) is not None:
        drain.answered(bits, answer(table, keys.sharing(drain.place, bits)))
    assert set(drain.neighbours) == {contact.peer for contact in table}
    deepest = max(table.bucket_sizes(), default=0)
    assert drain.requests <= min(16, deepest + 3)  # it does not ask for what cannot be there
    assert drain.read
    assert not drain.error_bits


def test_a_drain_notes_what_failed() -> None:
    drain = Drain(peer(1))
    assert (drain.next(), drain.next()) == (0, 1)
    drain.failed(1)
    assert not drain.read
    drain.answered(0, [])
    assert drain.next() is None  # it knows nobody
    assert drain.error_bits == 0b10
    assert drain.read


def test_a_peer_does_not_count_itself() -> None:
    drain = Drain(peer(1))
    drain.answered(0, [info(1, b"a")])
    assert not drain.neighbours
    assert drain.next() == 0  # asked for before, as it were
    assert drain.next() is None


def test_aimed_keys_share_exactly_so_many_bits() -> None:
    rng = random.Random(1)
    keys = AimedKeys(rng)
    for bits in [*range(16), *reversed(range(16))]:
        place = rng.getrandbits(256)
        key = keys.sharing(place, bits)
        assert common_prefix_length(key_of(key), place) == bits
        PeerId(key)  # go refuses other keys
    for bits in (-1, 16):
        with pytest.raises(ValueError):
            keys.sharing(0, bits)


# --- rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (errors.PeerTimeout("late"), "io_timeout"),
        (trio.TooSlowError(), "io_timeout"),
        (errors.PeerIdMismatch("another"), "peer_id_mismatch"),
        (errors.HandshakeError("bad"), "negotiate_security_protocol"),
        (errors.MuxerError("bad"), "negotiate_stream_multiplexer"),
        (errors.ProtocolNotSupported("no"), "protocol_not_supported"),
        (errors.NoAddresses("none"), "no_ip_address"),
        (errors.UnsupportedAddress("no"), "no_transport_for_protocol"),
        (errors.ConnectionGated("no"), "connection_gated"),
        (errors.StreamReset(), "stream_reset"),
        (errors.ConnectionClosed(), "connection_reset_by_peer"),
        (errors.DialError("connection refused: nobody listens"), "connection_refused"),
        (errors.DialError("not dialled: this network swallows UDP"), "black_hole_refused"),
        (OSError(errno.EHOSTUNREACH, "no route"), "no_route_to_host"),
        (errors.ProtocolError("odd"), "unknown"),
    ],
)
def test_errors_have_nebulas_names(error: BaseException, name: str) -> None:
    assert net_error(error) == name
    assert name in NAMES
    assert net_error(errors.DialError("all", causes=[("a", error)])) == name


def test_what_tells_most_counts() -> None:
    refused = errors.DialError("refused")
    refused.__cause__ = OSError(errno.ECONNREFUSED, "refused")
    late = errors.PeerTimeout("late")
    odd = errors.UnsupportedAddress("no")
    assert net_error(errors.DialError("", causes=[(1, odd), (2, refused)])) == "connection_refused"
    assert net_error(errors.DialError("", causes=[(1, refused), (2, late)])) == "io_timeout"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (1e-9, "1ns"),
        (1.5e-6, "1.5µs"),
        (0.031803669, "31.803669ms"),
        (1, "1s"),
        (61.25, "1m1.25s"),
        (3600, "1h0m0s"),
    ],
)
def test_durations_are_gos(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
    assert parse_go_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1", "s", "1x", "1s junk", "-1s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError):
        parse_go_duration(text)


def test_a_tally_adds_up() -> None:
    tally = Tally()
    tally.add(Visit(peer=peer(1), started=NOW, ended=NOW, agent_version="a", protocols=("/x",)))
    tally.add(Visit(peer=peer(2), started=NOW, ended=NOW, connect_error="io_timeout"))
    assert (tally.crawled, tally.dialable, tally.undialable) == (2, 1, 1)
    assert tally.agents == {"a": 1, "": 1}
    assert tally.connect_errors == {"io_timeout": 1}


@pytest.mark.parametrize(
    ("address", "kinds"),
    [
        ("/ip4/8.8.8.8/tcp/1", {"public", "any"}),
        ("/dns/example.com/tcp/1", {"public", "any"}),
        ("/ip4/192.168.1.2/tcp/1", {"private", "any"}),
        ("/ip4/127.0.0.1/tcp/1", {"private", "any"}),
        ("/ip4/0.0.0.0/tcp/1", set()),
        (f"/ip4/8.8.8.8/tcp/1/p2p/{peer(1)}/p2p-circuit", set()),
    ],
)
def test_which_addresses_are_dialled(address: str, kinds: set[str]) -> None:
    parsed = parse_address(address)
    assert {kind.value for kind in AddressKind if kind.admits(parsed)} == kinds


def test_options_are_checked() -> None:
    for wrong in ({"workers": 0}, {"rate": 0.0}, {"rate": float("nan")}):
        with pytest.raises(ValueError):
            CrawlOptions(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        VisitSettings(requests=17)
    with pytest.raises(errors.InvalidAddress):
        bootstrap_peer("/ip4/127.0.0.1/tcp/1")
