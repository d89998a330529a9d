"""The table of all servers names exactly whom looking at all of them would."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.identity import PeerId
from carrick.protocols.kademlia import PeerInfo
from carrick.protocols.kademlia.full_table import Gathering, ServerTable
from carrick.protocols.kademlia.full_table.gathering import LULL, OPERATION
from carrick.protocols.kademlia.keyspace import key_of, peer_key

PEERS = [PeerInfo(PeerId(b"\x12\x20" + key_of(bytes([n])).to_bytes(32, "big"))) for n in range(200)]


def brute_force(
    present: dict[PeerId, frozenset[object]], key: int, count: int, most: int | None
) -> list[PeerId]:
    chosen: list[PeerId] = []
    groups: Counter[object] = Counter()
    for peer in sorted(present, key=lambda each: peer_key(each) ^ key):
        if most is not None and any(groups[group] >= most for group in present[peer]):
            continue
        groups.update(present[peer])
        chosen.append(peer)
    return chosen[:count]


@settings(max_examples=60)
@given(st.data())
def test_its_closest_are_the_closest(data: st.DataObject) -> None:
    """After a crawl, and whatever comes and goes behind it."""
    group = st.integers(0, 9).map(lambda number: frozenset([number]))
    indices = st.lists(st.integers(0, len(PEERS) - 1), unique=True)
    found = {PEERS[index].id: data.draw(group) for index in data.draw(indices)}
    table = ServerTable()
    table.replace((PeerInfo(peer), groups) for peer, groups in found.items())
    present: dict[PeerId, frozenset[object]] = dict(found)
    for index in data.draw(indices):
        if data.draw(st.booleans()):
            peer = PEERS[index]
            groups = data.draw(group)
            table.answered(peer, groups)
            if found:
                present.setdefault(peer.id, groups)
        else:
            table.failed(PEERS[index].id)
            table.failed(PEERS[index].id)
            present.pop(PEERS[index].id, None)
    assert len(table) == len(present)
    assert [each.id for each in table] == sorted(present, key=peer_key)
    assert table.is_whole == (bool(found) and 2 * len(present) >= len(found))
    key = key_of(data.draw(st.binary(max_size=4)))
    count, most = data.draw(st.integers(1, 30)), data.draw(st.sampled_from([None, 1, 3]))
    closest = table.closest(key, count, max_per_group=most)
    assert [each.id for each in closest] == brute_force(present, key, count, most)


@given(st.integers(0, 30), st.lists(st.tuples(st.booleans(), st.floats(0, 2))))
def test_gathering_ends(count: int, answers: list[tuple[bool, float]]) -> None:
    """Everybody is asked once, and it is done by its deadline, whoever answers or not."""
    peers = [each.id for each in PEERS[:count]]
    gathering, now = Gathering(0, peers), 0.0
    assert gathering.to_ask(now) == peers
    answered, last = [], 0.0
    for peer, (well, pause) in zip(peers, answers, strict=False):
        if gathering.done or now + pause >= gathering.wake_at:
            break
        now += pause
        if well:
            gathering.answered(peer, PEERS[0], now)
            answered.append(peer)
            last = now
        else:
            gathering.failed(peer, now)
        assert gathering.to_ask(now) == []
    assert gathering.closest == answered
    if not gathering.done:
        assert gathering.wake_at <= OPERATION
        if len(answered) >= 0.3 * count:
            assert gathering.wake_at <= last + LULL
        gathering.to_ask(gathering.wake_at)
    assert gathering.done
    assert gathering.requests == count
