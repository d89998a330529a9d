"""The test-only plaintext security: what it does exchange, it checks."""

from __future__ import annotations

from pathlib import Path

import pytest

from carrick.errors import HandshakeError, PeerIdMismatch
from carrick.identity import KeyType, PrivateKey
from carrick.interfaces import Role
from carrick.wire import encode_frame
from tests.support.handshakes import run_handshake
from tests.support.plaintext import (
    MAX_EXCHANGE,
    Plaintext,
    PlaintextHandshake,
    PlaintextRecords,
    encode_exchange,
)

ALICE, BOB = PrivateKey.generate(), PrivateKey.generate(KeyType.RSA)


def begin(key: PrivateKey, expected: PrivateKey | None = None) -> PlaintextHandshake:
    peer = expected.peer_id if expected else None
    return Plaintext(key).handshake(Role.CLIENT, expected_peer=peer, muxers=("/yamux/1.0.0",))


def test_both_learn_the_other() -> None:
    at_alice, at_bob = run_handshake(begin(ALICE, BOB), begin(BOB))
    assert at_alice.peer_id == BOB.peer_id and at_alice.public_key == BOB.public_key
    assert at_bob.peer_id == ALICE.peer_id
    assert at_alice.muxer is at_bob.muxer is None


def test_exchange_on_the_wire() -> None:
    key = ALICE.public_key.to_protobuf()
    peer_id = ALICE.peer_id.to_bytes()
    exchange = b"\x0a" + bytes((len(peer_id),)) + peer_id + b"\x12" + bytes((len(key),)) + key
    assert begin(ALICE).take_output() == bytes((len(exchange),)) + exchange


def test_any_cut_and_bytes_behind() -> None:
    wire = begin(BOB).take_output()
    alice = begin(ALICE)
    for byte in wire[:-1]:
        alice.receive(bytes((byte,)))
        assert alice.session is None
    alice.receive(wire[-1:] + b"\xff\xff\xffmuxer")  # no frame: what is behind has no length
    assert alice.session is not None and alice.session.received == b"\xff\xff\xffmuxer"


def test_unexpected_peer() -> None:
    alice = begin(ALICE, expected=ALICE)
    with pytest.raises(PeerIdMismatch):
        alice.receive(begin(BOB).take_output())
    assert alice.session is None


@pytest.mark.parametrize(
    "exchange",
    [
        b"",
        b"garbage",
        encode_exchange(BOB.peer_id, ALICE.public_key),
        encode_exchange(ALICE.peer_id, ALICE.public_key)[:-1],
        encode_exchange(ALICE.peer_id, ALICE.public_key) + b"\0",
        b"\x0a\x00" + encode_exchange(ALICE.peer_id, ALICE.public_key),
        b"\x0a\xff\xff\xff\xff\x7f",
        b"\x0a",
    ],
    ids=["empty", "garbage", "other-id", "cut", "longer", "twice", "huge", "no-length"],
)
def test_malformed_exchange(exchange: bytes) -> None:
    bob = begin(BOB)
    with pytest.raises(HandshakeError):
        bob.receive(encode_frame(exchange))
    assert bob.session is None


def test_exchange_that_is_too_long() -> None:
    with pytest.raises(HandshakeError):
        begin(BOB).receive(b"\x81\x20")
    assert MAX_EXCHANGE == 4096


def test_records_are_the_bytes_themselves() -> None:
    records = PlaintextRecords()
    out = bytearray(20)
    end = records.seal(out, 5, [b"head", memoryview(b"body")])
    assert (end, len(out)) == (13, 20) and out[5:end] == b"headbody"
    plains: list[bytes] = []
    assert records.open_all(memoryview(out), 5, end, plains.append) == end
    assert records.open_all(memoryview(out), 5, 5, plains.append) == 5
    assert plains == [b"headbody"] and records.closing() == b""


def test_it_is_in_no_production_code() -> None:
    root = Path(__file__).parents[2]
    files = [
        file
        for room in ("core", "transports", "protocols")
        for file in root.glob(f"{room}/**/*.py")
    ]
    assert len(files) > 10
    assert not [file for file in files if "/plaintext/" in file.read_text(encoding="utf-8")]
