"""Noise against strangers: forged identities, impossible lengths, points of low order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from carrick.errors import HandshakeError, PeerIdMismatch
from carrick.identity import KeyType, PrivateKey
from carrick.interfaces import Role
from carrick.transports.security.noise import Noise, NoiseHandshake
from carrick.transports.security.noise.payload import MAX_PAYLOAD, signed_payload
from carrick.transports.security.noise.pb.noise_pb2 import NoiseHandshakePayload
from carrick.wire import encode_varint
from tests.support.noise_peer import NoisePeer

US, VICTIM = PrivateKey.generate(), PrivateKey.generate()
VICTIM_RSA = PrivateKey.generate(KeyType.RSA)
PREFIX = b"noise-libp2p-static-key:"
OTHER_STATIC = bytes(range(32, 64))

# Points whose shared secret is all zeros (RFC 7748, section 6.1), and their non-canonical twins.
LOW_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes(31) + b"\x80",
]


def ours(role: Role, expected: PrivateKey | None = None) -> NoiseHandshake:
    peer = expected.peer_id if expected else None
    return Noise(US).handshake(role, expected_peer=peer, muxers=("/yamux/1.0.0",))


def opposite(role: Role) -> Role:
    return Role.SERVER if role is Role.CLIENT else Role.CLIENT


def attack(role: Role, peer: NoisePeer, expected: PrivateKey | None = None) -> None:
    """Our side plays `role` and must fail, with nothing to send and no session."""
    handshake = ours(role, expected)
    try:
        peer.run(handshake, opposite(role))
    finally:
        assert handshake.session is None
        assert handshake.take_output() == b""


def payload(key: bytes | None, signature: bytes | None) -> bytes:
    return NoiseHandshakePayload(identity_key=key, identity_sig=signature).SerializeToString()


def with_bit_flipped(data: bytes) -> bytes:
    return data[:-1] + bytes((data[-1] ^ 1,))


def victims(peer: NoisePeer) -> tuple[bytes, bytes]:
    """The victim's key and its signature over the attacker's static key: what nobody has."""
    return VICTIM.public_key.to_protobuf(), VICTIM.sign(PREFIX + peer.static)


def signed_for_another_static_key(peer: NoisePeer) -> bytes:
    return signed_payload(peer.key, OTHER_STATIC)


def replayed_payload_of_the_victim(peer: NoisePeer) -> bytes:
    return signed_payload(VICTIM, OTHER_STATIC)


def victims_key_signed_by_the_attacker(peer: NoisePeer) -> bytes:
    return payload(victims(peer)[0], peer.key.sign(PREFIX + peer.static))


def victims_rsa_key_signed_by_the_attacker(peer: NoisePeer) -> bytes:
    return payload(VICTIM_RSA.public_key.to_protobuf(), peer.key.sign(PREFIX + peer.static))


def victims_signature_under_the_attackers_key(peer: NoisePeer) -> bytes:
    return payload(peer.key.public_key.to_protobuf(), victims(peer)[1])


def signed_without_the_prefix(peer: NoisePeer) -> bytes:
    return payload(peer.key.public_key.to_protobuf(), peer.key.sign(peer.static))


def signed_with_the_prefix_of_tls(peer: NoisePeer) -> bytes:
    signature = peer.key.sign(b"libp2p-tls-handshake:" + peer.static)
    return payload(peer.key.public_key.to_protobuf(), signature)


def signed_for_our_static_key(peer: NoisePeer) -> bytes:
    """As a reflection would be: the prefix is right, the static key is the other side's."""
    return signed_payload(peer.key, US.public_key.to_protobuf()[-32:])


def no_signature(peer: NoisePeer) -> bytes:
    return payload(victims(peer)[0], None)


def empty_signature(peer: NoisePeer) -> bytes:
    return payload(victims(peer)[0], b"")


def zeros_as_signature(peer: NoisePeer) -> bytes:
    return payload(victims(peer)[0], bytes(64))


def signature_with_a_flipped_bit(peer: NoisePeer) -> bytes:
    key, signature = victims(peer)
    return payload(key, with_bit_flipped(signature))


def signature_cut(peer: NoisePeer) -> bytes:
    key, signature = victims(peer)
    return payload(key, signature[:-1])


def signature_with_a_byte_more(peer: NoisePeer) -> bytes:
    key, signature = victims(peer)
    return payload(key, signature + b"\0")


def no_key(peer: NoisePeer) -> bytes:
    return payload(None, victims(peer)[1])


def key_without_its_protobuf(peer: NoisePeer) -> bytes:
    key, signature = victims(peer)
    return payload(key[-32:], signature)


def key_of_an_unknown_type(peer: NoisePeer) -> bytes:
    key, signature = victims(peer)
    return payload(b"\x08\x63" + key[2:], signature)


def key_that_was_another_type(peer: NoisePeer) -> bytes:
    key, signature = victims(peer)
    return payload(b"\x08\x02" + key[2:], signature)


def second_key_behind_a_good_payload(peer: NoisePeer) -> bytes:
    """Protobuf takes the last of repeated fields: the signature is not this key's."""
    return signed_payload(peer.key, peer.static) + payload(victims(peer)[0], None)


def nothing(peer: NoisePeer) -> bytes:
    return b""


def no_protobuf(peer: NoisePeer) -> bytes:
    return b"\xff" * 100


def protobuf_cut(peer: NoisePeer) -> bytes:
    return signed_payload(peer.key, peer.static)[:-1]


FORGED = [
    signed_for_another_static_key,
    replayed_payload_of_the_victim,
    victims_key_signed_by_the_attacker,
    victims_rsa_key_signed_by_the_attacker,
    victims_signature_under_the_attackers_key,
    signed_without_the_prefix,
    signed_with_the_prefix_of_tls,
    signed_for_our_static_key,
    no_signature,
    empty_signature,
    zeros_as_signature,
    signature_with_a_flipped_bit,
    signature_cut,
    signature_with_a_byte_more,
    no_key,
    key_without_its_protobuf,
    key_of_an_unknown_type,
    key_that_was_another_type,
    second_key_behind_a_good_payload,
    nothing,
    no_protobuf,
    protobuf_cut,
]


@pytest.mark.parametrize("expected", [None, VICTIM], ids=["anybody", "victim"])
@pytest.mark.parametrize("forge", FORGED)
@pytest.mark.parametrize("role", Role)
def test_forged_identity(
    role: Role, forge: Callable[[NoisePeer], bytes], expected: PrivateKey | None
) -> None:
    peer = NoisePeer(opposite(role))
    peer.payload = forge(peer)
    with pytest.raises(HandshakeError) as caught:
        attack(role, peer, expected)
    assert caught.type is HandshakeError  # no identity was proven


@pytest.mark.parametrize("role", Role)
def test_honest_peer_that_is_not_the_expected_one(role: Role) -> None:
    with pytest.raises(PeerIdMismatch):
        attack(role, NoisePeer(opposite(role)), VICTIM)


def der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def rsa_key(bits: int, exponent: bytes) -> bytes:
    """An RSA key of any size as a PublicKey message."""
    modulus = b"\0\xc1" + b"\xa5" * (bits // 8 - 2) + b"\x01"
    numbers = der(0x30, der(0x02, modulus) + der(0x02, exponent))
    algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    info = der(0x30, algorithm + der(0x03, b"\0" + numbers))
    return b"\x08\x00\x12" + encode_varint(len(info)) + info


@pytest.mark.parametrize(
    ("bits", "exponent", "why"),
    [
        (1024, b"\1\0\1", "bits"),
        (8200, b"\1\0\1", "bits"),
        (16384, b"\1\0\1", "bits"),
        (100_000, b"\1\0\1", "message . of"),
        (4096, b"\x7f" + b"\xff" * 511, "exponent"),
        (8192, b"\1\0\1", "signature"),  # a size that is taken
    ],
)
@pytest.mark.parametrize("role", Role)
def test_rsa_key_of_a_refused_size(role: Role, bits: int, exponent: bytes, why: str) -> None:
    peer = NoisePeer(opposite(role), payload(rsa_key(bits, exponent), bytes(bits // 8)))
    with pytest.raises(HandshakeError, match=why):
        attack(role, peer)


@pytest.mark.parametrize("size", [0, 1, 31, 33, 34, 200, 16480, 65535])
def test_first_message_that_is_no_key(size: int) -> None:
    handshake = ours(Role.SERVER)
    with pytest.raises(HandshakeError, match=f"of {size} bytes"):
        handshake.receive(size.to_bytes(2, "big"))  # refused before its bytes are there
    with pytest.raises(HandshakeError, match="over"):
        handshake.receive(bytes(size))
    assert handshake.take_output() == b"" and handshake.session is None


@pytest.mark.parametrize("size", [0, 32, 95, 96 + MAX_PAYLOAD + 1, 65535])
def test_second_message_of_impossible_length(size: int) -> None:
    handshake = ours(Role.CLIENT)
    handshake.take_output()
    with pytest.raises(HandshakeError, match=f"of {size} bytes"):
        handshake.receive(size.to_bytes(2, "big"))


@pytest.mark.parametrize("size", [0, 32, 63, 64 + MAX_PAYLOAD + 1, 65535])
def test_third_message_of_impossible_length(size: int) -> None:
    handshake = ours(Role.SERVER)
    handshake.receive(NoisePeer(Role.CLIENT).write())
    with pytest.raises(HandshakeError, match=f"of {size} bytes"):
        handshake.receive(size.to_bytes(2, "big"))
    assert handshake.take_output() == b""


@pytest.mark.parametrize("role", Role)
def test_largest_payload(role: Role) -> None:
    peer = NoisePeer(opposite(role))
    filler = MAX_PAYLOAD - len(peer.payload) - 3
    peer.payload += b"\x7a" + encode_varint(filler) + bytes(filler)  # field 15: unknown, ignored
    assert len(peer.payload) == MAX_PAYLOAD
    handshake = ours(role)
    peer.run(handshake, opposite(role))
    assert handshake.session is not None
    peer = NoisePeer(opposite(role), peer.payload + b"\0")
    with pytest.raises(HandshakeError, match="bytes"):
        attack(role, peer)


@pytest.mark.parametrize("point", LOW_ORDER)
def test_ephemeral_key_of_low_order(point: bytes) -> None:
    server = ours(Role.SERVER)
    with pytest.raises(HandshakeError, match="invalid key"):
        server.receive(b"\0\x20" + point)
    assert server.take_output() == b""
    client = ours(Role.CLIENT)
    client.take_output()
    with pytest.raises(HandshakeError, match="invalid key"):
        client.receive(b"\0\x70" + point + bytes(80))


@pytest.mark.parametrize("point", LOW_ORDER)
@pytest.mark.parametrize("role", Role)
def test_static_key_of_low_order(role: Role, point: bytes) -> None:
    peer = NoisePeer(opposite(role))
    state = peer.noise.noise_protocol.handshake_state
    state.s.public_bytes = point
    peer.payload = signed_payload(peer.key, point)
    with pytest.raises(HandshakeError, match="invalid key"):
        attack(role, peer)


@pytest.mark.parametrize("role", Role)
def test_garbage_of_the_right_length(role: Role) -> None:
    handshake = ours(role)
    handshake.take_output()
    if role is Role.SERVER:
        handshake.receive(NoisePeer(Role.CLIENT).write())
        handshake.take_output()
    with pytest.raises(HandshakeError, match="authenticate"):
        handshake.receive(b"\x01\x00" + b"\x42" * 256)
    assert handshake.session is None


def test_our_own_messages_sent_back() -> None:
    client = ours(Role.CLIENT)
    first = client.take_output()
    with pytest.raises(HandshakeError):
        client.receive(first)
    server = ours(Role.SERVER)
    server.receive(NoisePeer(Role.CLIENT).write())
    with pytest.raises(HandshakeError):
        server.receive(server.take_output())


def test_little_is_held_before_the_peer_is_known() -> None:
    for role in Role:
        handshake = ours(role)
        handshake.take_output()
        if role is Role.SERVER:
            handshake.receive(NoisePeer(Role.CLIENT).write())
        size = MAX_PAYLOAD + 64
        handshake.receive(size.to_bytes(2, "big"))
        for _ in range(size - 1):
            handshake.receive(b"x")
        assert len(handshake._input) <= MAX_PAYLOAD + 96 + 2
        with pytest.raises(HandshakeError):
            handshake.receive(b"x" * (1 << 17))
        assert len(handshake._input) == 0
