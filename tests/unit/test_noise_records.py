"""The transport phase of Noise: records."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from noise.connection import NoiseConnection

from carrick.errors import ProtocolError
from carrick.interfaces import Buffer
from carrick.transports.security.noise.records import (
    MAX_EMPTY_RUN,
    MAX_PLAIN,
    NONCE_END,
    NoiseRecords,
)

KEY_A, KEY_B = bytes(range(32)), bytes(range(32, 64))


def records_pair() -> tuple[NoiseRecords, NoiseRecords]:
    return NoiseRecords(KEY_A, KEY_B), NoiseRecords(KEY_B, KEY_A)


def seal(records: NoiseRecords, *pieces: Buffer) -> bytes:
    out = bytearray(sum(map(len, pieces)) + records.overhead)
    assert records.seal(out, 0, pieces) == len(out)
    return bytes(out)


def open_all(records: NoiseRecords, data: bytes) -> tuple[list[bytes], bytes]:
    plains: list[bytes] = []
    rest = records.open_all(memoryview(data), 0, len(data), plains.append)
    return plains, data[rest:]


def noiseprotocol_pair() -> tuple[NoiseConnection, NoiseConnection]:
    pair = []
    for start in (NoiseConnection.set_as_initiator, NoiseConnection.set_as_responder):
        connection = NoiseConnection.from_name(b"Noise_NN_25519_ChaChaPoly_SHA256")
        start(connection)
        connection.start_handshake()
        pair.append(connection)
    initiator, responder = pair
    responder.read_message(initiator.write_message())
    initiator.read_message(responder.write_message())
    return initiator, responder


def keys_of(connection: NoiseConnection) -> tuple[bytes, bytes]:
    protocol = connection.noise_protocol
    return protocol.cipher_state_encrypt.k, protocol.cipher_state_decrypt.k


def test_record_has_length_ciphertext_and_tag() -> None:
    a, _ = records_pair()
    record = seal(a, b"four")
    assert len(record) == 2 + 4 + 16
    assert record[:2] == b"\x00\x14"


def test_both_directions_and_many_records() -> None:
    a, b = records_pair()
    sent = [b"x" * size for size in (1, 2, 100, 4096, MAX_PLAIN)]
    for sealer, opener in ((a, b), (b, a)):
        wire = b"".join(seal(sealer, plain) for plain in sent)
        assert open_all(opener, wire) == (sent, b"")


def test_pieces_are_joined_and_written_where_told() -> None:
    a, b = records_pair()
    out = bytearray(b"\xee" * 100)
    end = a.seal(out, 10, [b"head", memoryview(b"--body--")[2:6], bytearray(b"tail")])
    assert end == 10 + 2 + 12 + 16
    assert out[:10] == b"\xee" * 10 and out[end:] == b"\xee" * (100 - end)
    plains: list[bytes] = []
    assert b.open_all(memoryview(out), 10, end, plains.append) == end
    assert plains == [b"headbodytail"]
    out += b"not locked by a forgotten view"


def test_incomplete_record_stays() -> None:
    a, b = records_pair()
    wire = seal(a, b"first") + seal(a, b"second")
    plains, rest = open_all(b, wire[:-1])
    assert plains == [b"first"]
    assert open_all(b, rest + wire[-1:]) == ([b"second"], b"")
    for cut in (b"", b"\x00"):
        assert open_all(b, cut) == ([], cut)


def test_same_as_noiseprotocol() -> None:
    initiator, responder = noiseprotocol_pair()
    ours = NoiseRecords(*keys_of(initiator))
    for number in range(300):  # the counter passes one byte
        plain = b"%d" % number
        assert responder.decrypt(seal(ours, plain)[2:]) == plain
        cipher = responder.encrypt(plain)
        assert open_all(ours, len(cipher).to_bytes(2, "big") + cipher) == ([plain], b"")


def test_nonce_counts_little_endian_in_the_last_eight_bytes() -> None:
    initiator, responder = noiseprotocol_pair()
    ours = NoiseRecords(*keys_of(initiator))
    for count in (255, 256, 2**32 - 1, 2**63, NONCE_END - 1):
        ours._sealed = count
        responder.noise_protocol.cipher_state_decrypt.set_nonce(count)
        assert responder.decrypt(seal(ours, b"plain")[2:]) == b"plain"


@pytest.mark.parametrize("size", [0, 1, 15])
def test_record_shorter_than_its_tag(size: int) -> None:
    _, b = records_pair()
    with pytest.raises(ProtocolError, match="shorter than its tag"):
        open_all(b, size.to_bytes(2, "big"))  # refused before its bytes are there


@pytest.mark.parametrize("position", [2, 6, -1])
def test_flipped_bit(position: int) -> None:
    a, b = records_pair()
    wire = bytearray(seal(a, b"good") + seal(a, b"spoiled") + seal(a, b"behind"))
    record = 2 + 4 + 16
    wire[record + position if position > 0 else record + 2 + 7 + 16 - 1] ^= 1
    plains: list[bytes] = []
    with pytest.raises(ProtocolError, match="authenticate"):
        b.open_all(memoryview(wire), 0, len(wire), plains.append)
    assert plains == [b"good"]


def replayed(records: list[bytes]) -> list[bytes]:
    return [records[0], records[0]]


def reordered(records: list[bytes]) -> list[bytes]:
    return [records[1], records[0]]


def dropped(records: list[bytes]) -> list[bytes]:
    return records[1:]


@pytest.mark.parametrize("change", [replayed, reordered, dropped])
def test_record_out_of_its_order(change: Callable[[list[bytes]], list[bytes]]) -> None:
    a, b = records_pair()
    wire = b"".join(change([seal(a, b"one"), seal(a, b"two")]))
    with pytest.raises(ProtocolError, match="authenticate"):
        open_all(b, wire)


def test_reflected_record() -> None:
    a, _ = records_pair()
    with pytest.raises(ProtocolError, match="authenticate"):
        open_all(a, seal(a, b"mine"))


def test_empty_records_are_legal_but_not_without_end() -> None:
    a, b = records_pair()
    for _ in range(2):
        assert open_all(b, b"".join(seal(a) for _ in range(MAX_EMPTY_RUN))) == ([], b"")
        assert open_all(b, seal(a, b"data")) == ([b"data"], b"")
    flood = [seal(a, b"") for _ in range(MAX_EMPTY_RUN + 1)]
    for record in flood[:-1]:
        assert open_all(b, record) == ([], b"")
    with pytest.raises(ProtocolError, match="empty"):
        open_all(b, flood[-1])


def test_largest_record() -> None:
    a, b = records_pair()
    assert a.max_plain == 65519
    record = seal(a, bytes(65519))
    assert len(record) == 2 + 65535
    assert open_all(b, record) == ([bytes(65519)], b"")


@pytest.mark.parametrize(
    ("room", "pieces"), [(70000, [bytes(65520)]), (70000, [bytes(65519), b"x"]), (20, [b"abc"])]
)
def test_too_much_to_seal(room: int, pieces: Sequence[bytes]) -> None:
    a, b = records_pair()
    with pytest.raises(ValueError, match="do not fit"):
        a.seal(bytearray(room), 0, pieces)
    assert open_all(b, seal(a, b"no nonce was used")) == ([b"no nonce was used"], b"")


def test_nonces_end() -> None:
    a, b = records_pair()
    a._sealed = b._opened = NONCE_END - 1
    last = seal(a, b"the last")
    assert open_all(b, last) == ([b"the last"], b"")
    with pytest.raises(ProtocolError, match="used up"):
        seal(a, b"one more")
    with pytest.raises(ProtocolError, match="used up"):
        open_all(b, last)


def test_failing_sink_does_not_repeat_a_nonce() -> None:
    a, b = records_pair()
    wire = seal(a, b"one") + seal(a, b"two")

    def fail(plain: bytes) -> None:
        raise ProtocolError("from the muxer")

    with pytest.raises(ProtocolError, match="from the muxer"):
        b.open_all(memoryview(wire), 0, len(wire), fail)
    assert open_all(b, wire[2 + 3 + 16 :]) == ([b"two"], b"")


def test_no_word_for_goodbye() -> None:
    assert records_pair()[0].closing() == b""
