"""The Noise handshake between two honest hosts, and with noiseprotocol as the other side."""

from __future__ import annotations

import pytest

from carrick.errors import BothDialed, HandshakeError, PeerIdMismatch
from carrick.identity import KeyType, PrivateKey
from carrick.interfaces import Records, Role, Session
from carrick.transports.security.noise import Noise, NoiseHandshake
from carrick.transports.security.noise.payload import MAX_EXTENSION_ITEMS
from carrick.transports.security.noise.pb.noise_pb2 import NoiseExtensions, NoiseHandshakePayload
from tests.support.handshakes import deliver, run_handshake
from tests.support.noise_peer import NoisePeer

YAMUX, MPLEX, OTHER = "/yamux/1.0.0", "/mplex/6.7.0", "/other/1.0.0"
KEYS = {kind: PrivateKey.generate(kind) for kind in KeyType}
ALICE, BOB = KEYS[KeyType.ED25519], PrivateKey.generate()


def begin(
    role: Role,
    key: PrivateKey,
    *,
    expected: PrivateKey | None = None,
    muxers: tuple[str, ...] = (),
) -> NoiseHandshake:
    peer = expected.peer_id if expected else None
    return Noise(key).handshake(role, expected_peer=peer, muxers=muxers)


def carried(sealer: Records, opener: Records, plain: bytes) -> list[bytes]:
    out = bytearray(len(plain) + sealer.overhead)
    end = sealer.seal(out, 0, [plain])
    plains: list[bytes] = []
    assert opener.open_all(memoryview(out), 0, end, plains.append) == end
    return plains


@pytest.mark.parametrize("server_kind", KeyType)
@pytest.mark.parametrize("client_kind", KeyType)
def test_every_kind_of_identity(client_kind: KeyType, server_kind: KeyType) -> None:
    alice, bob = KEYS[client_kind], KEYS[server_kind]
    at_alice, at_bob = run_handshake(
        begin(Role.CLIENT, alice, expected=bob), begin(Role.SERVER, bob, expected=alice)
    )
    assert (at_alice.peer_id, at_alice.public_key) == (bob.peer_id, bob.public_key)
    assert (at_bob.peer_id, at_bob.public_key) == (alice.peer_id, alice.public_key)
    assert carried(at_alice.records, at_bob.records, b"ping") == [b"ping"]
    assert carried(at_bob.records, at_alice.records, b"pong") == [b"pong"]


@pytest.mark.parametrize("peers_role", Role)
def test_against_noiseprotocol(peers_role: Role) -> None:
    peer = NoisePeer(peers_role)
    our_role = Role.SERVER if peers_role is Role.CLIENT else Role.CLIENT
    ours = begin(our_role, ALICE, muxers=(YAMUX, MPLEX))
    payload = NoiseHandshakePayload.FromString(peer.run(ours, peers_role))
    assert payload.identity_key == ALICE.public_key.to_protobuf()
    ALICE.public_key.verify(
        b"noise-libp2p-static-key:" + ours._xx._protocol.keypairs["s"].public_bytes,
        payload.identity_sig,
    )
    assert list(payload.extensions.stream_muxers) == [YAMUX, MPLEX]
    session = ours.session
    assert session is not None and session.peer_id == peer.key.peer_id
    out = bytearray(100)
    end = session.records.seal(out, 0, [b"from us"])
    assert peer.noise.decrypt(bytes(out[2:end])) == b"from us"
    cipher = peer.noise.encrypt(b"from the peer")
    plains: list[bytes] = []
    record = memoryview(len(cipher).to_bytes(2, "big") + cipher)
    session.records.open_all(record, 0, len(record), plains.append)
    assert plains == [b"from the peer"]


def test_messages_are_xx_and_the_first_carries_nothing() -> None:
    client = begin(Role.CLIENT, ALICE, muxers=(YAMUX,))
    server = begin(Role.SERVER, BOB, muxers=(YAMUX,))
    assert server.take_output() == b""
    first = client.take_output()
    assert len(first) == 2 + 32 and first[:2] == b"\x00\x20"
    server.receive(first)
    second = server.take_output()
    assert int.from_bytes(second[:2], "big") == len(second) - 2
    client.receive(second)
    assert client.session is not None and server.session is None
    third = client.take_output()
    assert int.from_bytes(third[:2], "big") == len(third) - 2
    for identity in (ALICE, BOB):
        assert identity.public_key.to_protobuf() not in second + third
    server.receive(third)
    assert server.session is not None
    assert client.take_output() == server.take_output() == b""


@pytest.mark.parametrize(
    ("clients", "servers", "chosen"),
    [
        ((YAMUX, MPLEX), (MPLEX, YAMUX), YAMUX),
        ((MPLEX, YAMUX), (YAMUX, MPLEX), MPLEX),
        ((OTHER, MPLEX), (YAMUX, MPLEX), MPLEX),
        ((YAMUX,), (MPLEX,), None),
        ((), (YAMUX,), None),
        ((YAMUX,), (), None),
        ((), (), None),
    ],
)
def test_the_initiators_first_common_muxer(
    clients: tuple[str, ...], servers: tuple[str, ...], chosen: str | None
) -> None:
    at_client, at_server = run_handshake(
        begin(Role.CLIENT, ALICE, muxers=clients), begin(Role.SERVER, BOB, muxers=servers)
    )
    assert at_client.muxer == at_server.muxer == chosen


def session_with(extensions: NoiseExtensions) -> tuple[Session, NoiseHandshake]:
    peer = NoisePeer(Role.CLIENT)
    peer.payload += NoiseHandshakePayload(extensions=extensions).SerializeToString()
    ours = begin(Role.SERVER, ALICE, muxers=(YAMUX,))
    peer.run(ours, Role.CLIENT)
    assert ours.session is not None
    return ours.session, ours


def test_list_of_muxers_is_bounded() -> None:
    others = [f"/m/{number}" for number in range(MAX_EXTENSION_ITEMS - 1)]
    session, _ = session_with(NoiseExtensions(stream_muxers=[*others, YAMUX]))
    assert session.muxer == YAMUX
    session, _ = session_with(NoiseExtensions(stream_muxers=[*others, OTHER, YAMUX]))
    assert session.muxer is None


def test_certhashes_are_handed_on_after_the_handshake() -> None:
    hashes = [b"\x12\x20" + bytes((number,)) * 32 for number in range(3)]
    _, ours = session_with(NoiseExtensions(webtransport_certhashes=hashes))
    assert ours.certhashes == tuple(hashes)
    _, ours = session_with(NoiseExtensions(webtransport_certhashes=[b"x"] * 101))
    assert ours.certhashes == ()


def test_certhashes_of_a_failed_handshake_are_discarded() -> None:
    peer = NoisePeer(Role.CLIENT)
    extensions = NoiseExtensions(webtransport_certhashes=[b"hash"])
    peer.payload += NoiseHandshakePayload(extensions=extensions).SerializeToString()
    ours = begin(Role.SERVER, ALICE, expected=BOB)
    with pytest.raises(PeerIdMismatch):
        peer.run(ours, Role.CLIENT)
    assert ours.certhashes == () and ours.session is None


def test_unknown_extensions_are_ignored() -> None:
    extensions = NoiseExtensions.FromString(b"\x8a\x40\x04test")  # field 1025, for experiments
    session, _ = session_with(extensions)
    assert session.muxer is None


def test_muxer_that_is_no_text_is_never_chosen() -> None:
    extensions = NoiseExtensions.FromString(b"\x12\x03\xff\xfe\xfd\x12\x0c/yamux/1.0.0")
    session, _ = session_with(extensions)
    assert session.muxer == YAMUX


@pytest.mark.parametrize("role", Role)
def test_unexpected_peer(role: Role) -> None:
    """The initiator refuses before message 3 is sent, so that it does not show who it is."""
    carol = PrivateKey.generate()
    expected = {role: carol}
    client = begin(Role.CLIENT, ALICE, expected=expected.get(Role.CLIENT))
    server = begin(Role.SERVER, BOB, expected=expected.get(Role.SERVER))
    with pytest.raises(PeerIdMismatch) as caught:
        run_handshake(client, server)
    assert str(carol.peer_id) in str(caught.value)
    refusing = client if role is Role.CLIENT else server
    assert refusing.session is None and refusing.take_output() == b""


def test_bytes_behind_the_last_message_are_kept() -> None:
    client, server = begin(Role.CLIENT, ALICE), begin(Role.SERVER, BOB)
    deliver(client, server)
    deliver(server, client)
    server.receive(client.take_output() + b"\x00\x99the first record")
    assert server.session is not None
    assert server.session.received == b"\x00\x99the first record"
    assert client.session is not None and client.session.received == b""


def test_static_key_is_one_per_host_and_the_ephemeral_one_per_connection() -> None:
    noise = Noise(ALICE)
    statics, messages = set(), set()
    for _ in range(3):
        server = begin(Role.SERVER, BOB)
        client = noise.handshake(Role.CLIENT, expected_peer=None, muxers=())
        messages.add(client.take_output())
        other = noise.handshake(Role.CLIENT, expected_peer=None, muxers=())
        run_handshake(other, server)
        statics.add(server._xx.peer_static)
    assert len(statics) == 1 and len(messages) == 3
    server = begin(Role.SERVER, BOB)
    run_handshake(begin(Role.CLIENT, ALICE), server)
    assert server._xx.peer_static not in statics


def test_key_log_has_the_keys_of_the_connection() -> None:
    lines: list[str] = []
    alice, bob = (Noise(key, keylog=lines.append) for key in (ALICE, BOB))
    client = alice.handshake(Role.CLIENT, expected_peer=None, muxers=())
    server = bob.handshake(Role.SERVER, expected_peer=None, muxers=())
    first = client.take_output()
    server.receive(first)
    run_handshake(client, server)
    assert len(lines) == 2 and lines[0] == lines[1]
    word, ephemeral, *keys = lines[0].split(" ")
    assert word == "NOISE" and ephemeral == first[2:].hex()
    assert [len(bytes.fromhex(key)) for key in keys] == [32, 32] and keys[0] != keys[1]


def test_the_handshake_is_over_once() -> None:
    client, server = begin(Role.CLIENT, ALICE), begin(Role.SERVER, BOB)
    run_handshake(client, server)
    for side in (client, server):
        with pytest.raises(HandshakeError, match="over"):
            side.receive(b"more")
        assert side.session is not None


def test_two_initiators_are_told_apart_from_garbage() -> None:
    ours, theirs = begin(Role.CLIENT, ALICE), begin(Role.CLIENT, BOB)
    with pytest.raises(BothDialed):
        ours.receive(theirs.take_output())
