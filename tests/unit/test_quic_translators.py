"""What stands between qh3's core and browsers, and webtransport-go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qh3.tls import CipherSuite

from carrick.transports.quic.initials import InitialTranslator
from carrick.transports.quic.partial_resets import (
    PartialResets,
    answer_announcement,
    without_partial_resets,
)
from carrick.transports.quic.sealing import PacketSealer

# RFC 9001 appendix A.3: a server's Initial packet to a client whose id is empty.
ORIGINAL = bytes.fromhex("8394c8f03e515708")
SERVER_INITIAL = bytes.fromhex(
    "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f37a1c69797554780b"
    "b38cc5a99f5ede4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19"
    "fb84022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc42158407dd074ee"
)
LOCAL = bytes(range(8))


def reverse(datagram: bytes) -> bytes:
    """What the core must have sealed for the client to get `datagram`."""
    translator = InitialTranslator(ORIGINAL, LOCAL)
    return translator._translate(datagram, translator._server, translator._core_server, b"")


def test_a_servers_initial_packet() -> None:
    core = reverse(SERVER_INITIAL)
    assert core != SERVER_INITIAL and len(core) == len(SERVER_INITIAL)
    rest = b"another packet"
    assert InitialTranslator(ORIGINAL, LOCAL).send(core + rest) == SERVER_INITIAL + rest


def test_a_clients_initial_packet_gets_our_id() -> None:
    translator = InitialTranslator(ORIGINAL, LOCAL)
    # The same packet as a client would seal it.
    sealed = translator._translate(SERVER_INITIAL, translator._server, translator._client, ORIGINAL)
    received = translator.receive(sealed)
    assert received[5:14] == b"\x08" + LOCAL
    back = translator._translate(received, translator._core_client, translator._server, b"")
    assert back == SERVER_INITIAL


def test_a_translated_datagram_is_not_too_short() -> None:
    translator = InitialTranslator(bytes(20), LOCAL)
    sealed = InitialTranslator(ORIGINAL, LOCAL)._translate(
        SERVER_INITIAL,
        InitialTranslator(ORIGINAL, LOCAL)._server,
        translator._client,
        bytes(20),
    )
    assert len(translator.receive(sealed)) == len(sealed)


@given(st.binary(max_size=80))
def test_any_datagram_passes(data: bytes) -> None:
    translator = InitialTranslator(ORIGINAL, LOCAL)
    for datagram in (data, b"\xc0\0\0\0\1" + data):
        assert translator.receive(datagram) == datagram
        assert translator.send(datagram) == datagram


@given(st.integers(0, len(SERVER_INITIAL) - 1), st.integers(1, 255))
def test_a_garbled_packet_passes_as_it_is(at: int, flip: int) -> None:
    garbled = bytearray(reverse(SERVER_INITIAL))
    garbled[at] ^= flip
    assert InitialTranslator(ORIGINAL, LOCAL).send(bytes(garbled)) == garbled


# --- RESET_STREAM_AT ------------------------------------------------------------------------------

ACK = b"\x02\x05\x00\x00\x05"
ACK_ECN = b"\x03\x05\x00\x01\x00\x01\x01\x01\x01\x01"
NEW_ID = b"\x18\x01\x00\x04abcd" + bytes(16)
MIXED = ACK + ACK_ECN + NEW_ID + b"\x01\x1a12345678\x05\x04\x01\x11\x04\x40\xff\x31\x02hi\0\0"
PARTIAL = b"\x24\x04\x40\x07\x40\x64\x40\x03"  # stream 4, code 7, final size 100, reliable 3
PLAIN = b"\x04\x04\x40\x07\x40\x64\0\0"
STREAM = b"\x0a\x08\x03\x24\x24\x24"  # with a length
LAST = b"\x08\x08\x24\x04\x07\x40"


def test_partial_resets_become_resets() -> None:
    frames = MIXED + PARTIAL + STREAM + PARTIAL + LAST
    assert without_partial_resets(frames) == MIXED + PLAIN + STREAM + PLAIN + LAST


@pytest.mark.parametrize("frames", [b"", MIXED, STREAM, LAST, MIXED + LAST, PARTIAL[:-1], b"\x3f$"])
def test_other_frames_stay(frames: bytes) -> None:
    assert without_partial_resets(frames) is frames


@given(st.binary(max_size=100))
def test_any_frames(data: bytes) -> None:
    assert len(without_partial_resets(data)) == len(data)


def test_the_announcement_is_answered_in_kind() -> None:
    known = b"\x1d\x00"
    assert answer_announcement(b"\x01\x01\x05" + known + b"\x20\x02\x40\x00") == known
    old = (0x17F7586D2CB571 | 3 << 62).to_bytes(8, "big") + b"\0"
    assert answer_announcement(old) == old
    assert answer_announcement(b"\x01\x01\x05") == b""
    assert answer_announcement(b"\x01\x7f") == b""


@given(st.binary(max_size=60))
def test_any_transport_parameters(data: bytes) -> None:
    assert len(answer_announcement(data)) <= len(data)


SUITES = [
    CipherSuite.AES_128_GCM_SHA256,
    CipherSuite.AES_256_GCM_SHA384,
    CipherSuite.CHACHA20_POLY1305_SHA256,
]


def header(number: int, phase: int = 0) -> bytes:
    return bytes((0x41 | phase << 2,)) + LOCAL + (number & 0xFFFF).to_bytes(2, "big")


@pytest.mark.parametrize("suite", SUITES)
def test_packets_are_sealed_again(suite: CipherSuite) -> None:
    secret = bytes(48 if suite is CipherSuite.AES_256_GCM_SHA384 else 32)
    sealer, opener = PacketSealer(suite, secret), PacketSealer(suite, secret)
    translator = PartialResets(suite, secret, len(LOCAL))
    phase = 0
    for number in (0, 1, 3, 40_000, 65_535, 65_536, 70_000):
        if number == 65_536:
            sealer._update_keys()
            phase = 1
        plain = sealer.seal(header(number, phase), 8, number, MIXED + LAST)
        assert translator.translate(plain, len(plain)) is plain
        packet = sealer.seal(header(number, phase), 8, number, MIXED + PARTIAL + LAST)
        other = bytes((packet[0] ^ 1,)) + packet[1:]  # does not open
        train = translator.translate(packet + other, len(packet))
        assert train[len(packet) :] == other and len(train) == 2 * len(packet)
        opened = opener.open(train[: len(packet)], 8, [number])
        assert opened is not None and opened[2] == MIXED + PLAIN + LAST


@given(st.binary(min_size=1, max_size=80), st.integers(1, 80))
def test_any_train(train: bytes, segment: int) -> None:
    translator = PartialResets(SUITES[0], bytes(32), 8)
    assert translator.translate(train, segment) is train
