"""The crawler's state machines and readers, whatever comes in."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.addressing import Cid
from carrick.errors import InvalidCid
from carrick.identity import PeerId
from carrick.protocols.kademlia import PeerInfo
from carrick.protocols.kademlia.crawler import (
    CrawlReader,
    Frontier,
    Graph,
    InvalidCrawl,
    parse_go_duration,
)
from carrick.protocols.kademlia.crawler.aiming import AimedKeys
from carrick.protocols.kademlia.crawler.drain import Drain
from carrick.protocols.kademlia.crawler.records import go_duration
from carrick.protocols.kademlia.keyspace import key_of, peer_key
from carrick.protocols.kademlia.table import RoutingTable

PEERS = [PeerId(b"\x12\x20" + random.Random(each).randbytes(32)) for each in range(300)]
KEYS = AimedKeys(random.Random(0))
peers = st.sampled_from(PEERS)


# --- content ids ----------------------------------------------------------------------------------


@given(st.binary(max_size=80))
def test_bytes_are_a_cid_or_refused(data: bytes) -> None:
    try:
        cid = Cid.from_bytes(data)
    except InvalidCid:
        return
    assert cid.to_bytes() == data
    assert Cid.parse(str(cid)) == cid


@given(st.text(max_size=80) | st.text("Qmbafyzk123", max_size=60))
def test_text_is_a_cid_or_refused(text: str) -> None:
    try:
        cid = Cid.parse(text)
    except InvalidCid:
        return
    assert Cid.parse(str(cid)) == cid


@given(st.integers(0, 2**40), st.integers(0, 2**30), st.binary(max_size=128))
def test_cids_come_back(codec: int, code: int, digest: bytes) -> None:
    from carrick.wire import encode_varint

    multihash = encode_varint(code) + encode_varint(len(digest)) + digest
    cid = Cid(1, codec, multihash)
    assert Cid.parse(str(cid)) == Cid.from_bytes(cid.to_bytes()) == cid


# --- the frontier ---------------------------------------------------------------------------------

steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), peers, st.lists(st.binary(max_size=4), max_size=3)),
        st.tuples(st.just("next"), st.none(), st.none()),
        st.tuples(st.just("done"), st.integers(0, 300), st.none()),
    ),
    max_size=120,
)


@given(steps, st.none() | st.integers(0, 20), st.integers(1, 50))
def test_the_frontier_keeps_its_word(
    script: list[tuple[str, object, object]], limit: int | None, most: int
) -> None:
    frontier = Frontier(limit=limit, max_peers=most)
    running: list[PeerId] = []
    visited: list[PeerId] = []
    for what, whom, addresses in script:
        if what == "add":
            assert isinstance(whom, PeerId)
            known = whom in frontier
            new = frontier.add(PeerInfo(whom, tuple(addresses)))  # type: ignore[arg-type]
            assert not (new and known)
        elif what == "next":
            target = frontier.next()
            if target is not None:
                assert target.id not in running
                assert target.id not in visited  # never twice
                running.append(target.id)
        elif running:
            assert isinstance(whom, int)
            visited.append(running.pop(whom % len(running)))
            frontier.done(visited[-1])
        assert frontier.seen <= most
        assert frontier.seen == frontier.pending + len(running) + len(visited)
        assert limit is None or len(running) + len(visited) <= limit
        assert (frontier.running, frontier.visited) == (len(running), len(visited))


# --- tables ---------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(peers, st.sets(peers, max_size=300), st.integers(1, 16), st.randoms(use_true_random=False))
def test_a_drain_reads_any_table_in_any_order(
    own: PeerId, contacts: set[PeerId], window: int, rng: random.Random
) -> None:
    table = RoutingTable(peer_key(own), max_per_group=None, max_per_group_and_bucket=None)
    for each in sorted(contacts):
        table.answered(each, (), 0.0)
    drain = Drain(own)
    asked: list[int] = []
    while True:
        while len(asked) < window and (bits := drain.next()) is not None:
            asked.append(bits)
        if not asked:
            break
        bits = asked.pop(rng.randrange(len(asked)))
        key = key_of(KEYS.sharing(drain.place, bits))
        drain.answered(bits, [PeerInfo(each) for each in table.closest(key)])
    assert set(drain.neighbours) == {contact.peer for contact in table}
    assert drain.requests <= 16


@given(peers, st.lists(st.tuples(st.booleans(), st.lists(peers, max_size=45)), max_size=20))
def test_a_drain_ends_whatever_is_answered(
    own: PeerId, answers: list[tuple[bool, list[PeerId]]]
) -> None:
    drain = Drain(own)
    asked = 0
    for failed, named in answers:
        bits = drain.next()
        if bits is None:
            break
        asked += 1
        if failed:
            drain.failed(bits)
        else:
            drain.answered(bits, [PeerInfo(each) for each in named])
    assert asked == drain.requests <= 16
    assert own not in drain.neighbours
    assert drain.error_bits < 1 << 16


# --- graphs and files -----------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=100))
def test_the_largest_part_shrinks(edges: list[tuple[int, int]]) -> None:
    graph = Graph(edges)
    curve = graph.removal_curve()
    assert len(curve) == len(graph) + 1
    assert curve[0] == max(graph.components(), default=0)
    assert curve[-1] == 0
    assert all(after <= before for before, after in zip(curve, curve[1:], strict=False))
    assert sum(graph.components()) == len(graph)
    assert sum(graph.degrees) == 2 * graph.edges
    assert sum(graph.out_degrees) == sum(graph.in_degrees) == len(edges)


@given(st.floats(0, 1e6))
def test_durations_come_back(seconds: float) -> None:
    assert abs(parse_go_duration(go_duration(seconds)) - seconds) < 1e-8


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
rows = st.fixed_dictionaries(
    {},
    optional={
        "PeerID": st.just(str(PEERS[0])) | st.just(str(PEERS[0])) | json_values,
        "Maddrs": st.just(["/ip4/127.0.0.1/tcp/1"]) | json_values,
        "Protocols": json_values,
        "AgentVersion": json_values,
        "ConnectErrorStr": json_values,
        "CrawlErrorStr": json_values,
    },
)


@settings(max_examples=200)
@given(st.lists(rows.map(json.dumps).map(str.encode) | st.binary(max_size=30), max_size=5))
def test_files_are_a_crawl_or_refused(lines: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("x_visits.ndjson", "x_seen.ndjson"):
            (Path(folder) / name).write_bytes(b"\n".join(lines))
        reader = CrawlReader.latest(Path(folder))
        try:
            reader.frontier()
        except InvalidCrawl:
            return
