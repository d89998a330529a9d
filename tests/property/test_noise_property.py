"""Noise, whatever the bytes and however they are cut."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.errors import HandshakeError, ProtocolError
from carrick.identity import PrivateKey
from carrick.interfaces import Role
from carrick.transports.security.noise import Noise, NoiseHandshake, NoiseRecords

ALICE, BOB = PrivateKey.generate(), PrivateKey.generate()
NOISE_A, NOISE_B = Noise(ALICE), Noise(BOB)
KEY_A, KEY_B = bytes(32), bytes(range(32))


def both() -> tuple[NoiseHandshake, NoiseHandshake]:
    muxers = ("/yamux/1.0.0",)
    return (
        NOISE_A.handshake(Role.CLIENT, expected_peer=BOB.peer_id, muxers=muxers),
        NOISE_B.handshake(Role.SERVER, expected_peer=None, muxers=muxers),
    )


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    marks = [0, *sorted(position % (len(data) + 1) for position in cuts), len(data)]
    return [data[lo:hi] for lo, hi in zip(marks, marks[1:], strict=False) if lo < hi]


cuts = st.lists(st.integers(0, 1000), max_size=8)


@given(cuts, cuts, cuts, st.binary(max_size=40))
@settings(max_examples=40)
def test_any_cut_of_a_handshake(a: list[int], b: list[int], c: list[int], behind: bytes) -> None:
    client, server = both()
    for piece in cut(client.take_output(), a):
        server.receive(piece)
    for piece in cut(server.take_output(), b):
        client.receive(piece)
    assert client.session is not None and server.session is None
    late = b""
    for piece in cut(client.take_output() + behind, c):
        if server.session is None:
            server.receive(piece)
        else:
            late += piece
    assert server.session is not None
    assert server.session.received + late == behind
    assert server.session.peer_id == ALICE.peer_id and client.session.peer_id == BOB.peer_id
    assert server.session.muxer == client.session.muxer == "/yamux/1.0.0"


@given(st.sampled_from([1, 2, 3]), st.integers(0, 10_000))
@settings(max_examples=150)
def test_changed_bit_in_a_handshake(number: int, position: int) -> None:
    """Whoever reads the changed message, or its answer, never gets a session."""
    client, server = both()
    victim, expected = (server, client) if number == 1 else (client, server)
    try:
        for message in (1, 2, 3):
            sender, receiver = (client, server) if message % 2 else (server, client)
            data = bytearray(sender.take_output())
            if message == number:
                data[position // 8 % len(data)] ^= 1 << position % 8
                victim, expected = (client, server) if number == 1 else (receiver, receiver)
            receiver.receive(data)
    except HandshakeError:
        pass
    assert victim.session is None and expected.session is None


@given(st.sampled_from(Role), st.booleans(), st.lists(st.binary(max_size=300), max_size=6))
@settings(max_examples=150)
def test_garbage_raises_only_the_typed_error(role: Role, late: bool, pieces: list[bytes]) -> None:
    client, server = both()
    handshake = client if role is Role.CLIENT else server
    first = client.take_output()
    if role is Role.SERVER and late:
        server.receive(first)
    for piece in pieces:
        try:
            handshake.receive(piece)
        except HandshakeError:
            assert handshake.take_output() == b""
            break
    assert handshake.session is None


@given(st.lists(st.lists(st.binary(max_size=60), max_size=3), max_size=8), cuts)
@settings(max_examples=100)
def test_any_cut_of_records(records: list[list[bytes]], where: list[int]) -> None:
    sealer, opener = NoiseRecords(KEY_A, KEY_B), NoiseRecords(KEY_B, KEY_A)
    wire = bytearray(sum(sum(map(len, pieces)) + 18 for pieces in records))
    at = 0
    for pieces in records:
        at = sealer.seal(wire, at, pieces)
    assert at == len(wire)
    tail, plains = b"", list[bytes]()
    for piece in cut(bytes(wire), where):
        data = tail + piece
        lo = opener.open_all(memoryview(data), 0, len(data), plains.append)
        tail = data[lo:]
    assert tail == b""
    assert plains == [plain for pieces in records if (plain := b"".join(pieces))]


@given(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=6), st.integers(0))
@settings(max_examples=100)
def test_changed_bit_in_records(sent: list[bytes], position: int) -> None:
    """What comes out is what was sealed before the change, and never more."""
    sealer, opener = NoiseRecords(KEY_A, KEY_B), NoiseRecords(KEY_B, KEY_A)
    wire = bytearray(sum(map(len, sent)) + 18 * len(sent))
    ends, at = [], 0
    for plain in sent:
        at = sealer.seal(wire, at, [plain])
        ends.append(at)
    bit = position % (8 * len(wire))
    wire[bit // 8] ^= 1 << bit % 8
    plains: list[bytes] = []
    try:
        lo = opener.open_all(memoryview(wire), 0, len(wire), plains.append)
    except ProtocolError:
        pass
    else:
        assert lo < len(wire)
    assert plains == sent[: sum(end <= bit // 8 for end in ends)]


@given(st.binary(max_size=400))
@settings(max_examples=150)
def test_garbage_as_records(data: bytes) -> None:
    opener = NoiseRecords(KEY_A, KEY_B)
    plains: list[bytes] = []
    try:
        lo = opener.open_all(memoryview(data), 0, len(data), plains.append)
        assert len(data) - lo < 2 or int.from_bytes(data[lo : lo + 2], "big") > len(data) - lo - 2
    except ProtocolError:
        pass
    assert plains == []
