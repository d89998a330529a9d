"""The parts of WebTransport that do no I/O."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from carrick.addressing import parse_address
from carrick.errors import HandshakeError, InvalidAddress
from carrick.identity import PrivateKey
from carrick.interfaces import Role
from carrick.transports.security.noise import Noise
from carrick.transports.webtransport import codes
from carrick.transports.webtransport.address import find_place, webtransport_address
from carrick.transports.webtransport.certificates import (
    CLOCK_SKEW,
    VALIDITY,
    Certificates,
    certhash,
    check_certificate,
)
from carrick.transports.webtransport.codes import Http3Error, from_http3, to_http3
from carrick.transports.webtransport.frames import (
    DATA,
    HEADERS,
    MAX_HEADERS,
    MAX_REASON,
    SETTINGS,
    CapsuleReader,
    ControlReader,
    FrameReader,
    SessionClosed,
    decode_settings,
    encode_close,
    encode_frame,
    encode_settings,
)
from carrick.transports.webtransport.headers import (
    answer,
    connect_request,
    decode_headers,
    encode_headers,
    judge_request,
    status_of,
)
from carrick.transports.webtransport.varint import decode_varint, encode_varint

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = PrivateKey.generate()
PLACE = "/ip4/192.0.2.1/udp/4001/quic-v1/webtransport"


# --- varints and codes ----------------------------------------------------------------------------


@pytest.mark.parametrize(  # RFC 9000 appendix A.1
    ("encoded", "value"),
    [
        ("c2197c5eff14e88c", 151288809941952652),
        ("9d7f3e7d", 494878333),
        ("7bbd", 15293),
        ("25", 37),
    ],
)
def test_varint_vectors(encoded: str, value: int) -> None:
    data = bytes.fromhex(encoded)
    assert decode_varint(data) == (value, len(data))
    assert encode_varint(value) == data
    assert all(decode_varint(data[:end]) is None for end in range(len(data)))


def test_a_varint_may_be_longer_than_it_must() -> None:
    assert decode_varint(bytes.fromhex("4025")) == (37, 2)
    for value in (-1, 1 << 62):
        with pytest.raises(ValueError, match="no QUIC varint"):
            encode_varint(value)


@pytest.mark.parametrize(  # draft-ietf-webtrans-http3 section 4.4: first and last
    ("code", "mapped"), [(0, 0x52E4A40FA8DB), (0x1D, 0x52E4A40FA8F8), (0xFFFFFFFF, 0x52E5AC983162)]
)
def test_reset_codes_have_a_place_in_http3(code: int, mapped: int) -> None:
    assert to_http3(code) == mapped
    assert from_http3(mapped) == code


def test_codes_of_others_carry_none() -> None:
    assert to_http3(0x1E) - to_http3(0x1D) == 2  # 0x1f * N + 0x21 is reserved
    for code in (0, 7, codes.NO_ERROR, 0x52E4A40FA8DA, to_http3(0x1D) + 1, 0x52E5AC983163):
        assert from_http3(code) == 0


# --- frames ---------------------------------------------------------------------------------------


def frames_of(*pieces: bytes) -> list[tuple[int, bytes]]:
    reader, found = FrameReader(), []
    for piece in pieces:
        reader.feed(piece)
        while (frame := reader.next()) is not None:
            found.append(frame)
    return found


def test_frames_one_after_another() -> None:
    unknown = encode_frame(0x21, b"grease")
    stream = encode_frame(HEADERS, b"h") + unknown + encode_frame(DATA, b"data")
    assert frames_of(stream) == [(HEADERS, b"h"), (DATA, b"data")]
    assert frames_of(encode_frame(DATA, b"")) == []


def test_data_is_handed_on_in_pieces() -> None:
    frame = encode_frame(DATA, bytes(100_000))
    assert frames_of(frame[:10], frame[10:50_000]) == [
        (DATA, bytes(5)),
        (DATA, bytes(50_000 - 10)),
    ]


def test_an_unknown_frame_is_not_held() -> None:
    reader = FrameReader()
    reader.feed(encode_varint(0x21) + encode_varint(1 << 40))
    for _ in range(100):
        reader.feed(bytes(100_000))
        assert reader.next() is None
    assert reader.buffered == 0


def test_oversized_headers_are_refused_before_they_come() -> None:
    with pytest.raises(Http3Error) as caught:
        frames_of(encode_varint(HEADERS) + encode_varint(MAX_HEADERS + 1))
    assert caught.value.code == codes.EXCESSIVE_LOAD


@pytest.mark.parametrize("kind", [0x02, 0x06, 0x08, 0x09])
def test_frames_of_http2_are_refused(kind: int) -> None:
    with pytest.raises(Http3Error) as caught:
        frames_of(encode_frame(kind, b""))
    assert caught.value.code == codes.FRAME_UNEXPECTED


def test_settings() -> None:
    settings = {0x08: 1, 0x33: 1, 0x2B603742: 1, 0x1F * 7 + 0x21: 99}
    assert decode_settings(encode_settings(settings)) == settings
    for payload, code in (
        (encode_settings({8: 1}) * 2, codes.SETTINGS_ERROR),
        (encode_settings({2: 1}), codes.SETTINGS_ERROR),
        (encode_settings({8: 1})[:-1], codes.FRAME_ERROR),
        (b"\x40", codes.FRAME_ERROR),
    ):
        with pytest.raises(Http3Error) as caught:
            decode_settings(payload)
        assert caught.value.code == code


def test_a_control_stream() -> None:
    reader = ControlReader()
    settings = encode_frame(SETTINGS, encode_settings({8: 1}))
    reader.feed(settings[:3])
    assert reader.settings is None
    reader.feed(settings[3:] + encode_frame(0x07, b"\0") + encode_frame(0x21, b"x"))
    assert reader.settings == {8: 1}
    with pytest.raises(Http3Error) as caught:
        reader.feed(settings)
    assert caught.value.code == codes.FRAME_UNEXPECTED


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (encode_frame(0x07, b"\0"), codes.MISSING_SETTINGS),
        (encode_frame(HEADERS, b""), codes.FRAME_UNEXPECTED),
        (encode_frame(DATA, b"x"), codes.FRAME_UNEXPECTED),
    ],
)
def test_a_control_stream_begins_with_settings(first: bytes, code: int) -> None:
    with pytest.raises(Http3Error) as caught:
        ControlReader().feed(first)
    assert caught.value.code == code


def test_capsules() -> None:
    reader = CapsuleReader()
    reader.feed(encode_frame(0x00, b"datagram") + encode_frame(0x190B4D3D, b"\x01"))
    assert reader.next() is None
    reader.feed(encode_close(0x1234, "bye"))
    assert reader.next() == SessionClosed(0x1234, "bye")


@pytest.mark.parametrize("size", [0, 3, 4 + MAX_REASON + 1])
def test_a_close_capsule_of_a_wrong_length(size: int) -> None:
    reader = CapsuleReader()
    reader.feed(encode_frame(0x2843, bytes(size)))
    with pytest.raises(Http3Error) as caught:
        reader.next()
    assert caught.value.code == codes.MESSAGE_ERROR


# --- headers --------------------------------------------------------------------------------------

GOOD = decode_headers(connect_request("192.0.2.1:443", draft_15=False))


def with_header(name: bytes, value: bytes | None) -> list[tuple[bytes, bytes]]:
    if value is None:
        return [each for each in GOOD if each[0] != name]
    return [(key, value if key == name else old) for key, old in GOOD]


def test_our_request_is_taken_in_both_dialects() -> None:
    assert judge_request(GOOD) == 200
    assert judge_request(decode_headers(connect_request("a:1", draft_15=True))) == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (with_header(b":method", b"GET"), 405),
        (with_header(b":protocol", None), 501),
        (with_header(b":protocol", b"websocket"), 501),
        (with_header(b":scheme", b"http"), 400),
        (with_header(b":authority", None), 400),
        (with_header(b":path", b"/"), 404),
        (with_header(b":path", None), 404),
        (with_header(b":path", b"/.well-known/libp2p-webtransport"), 400),
        (with_header(b":path", b"/.well-known/libp2p-webtransport?type=tls"), 400),
        (with_header(b":path", b"/.well-known/libp2p-webtransport?type=noise&type=noise"), 400),
        (with_header(b":path", b"/.well-known/libp2p-webtransport?a=b&type=noise"), 200),
    ],
)
def test_other_requests_are_answered(headers: list[tuple[bytes, bytes]], status: int) -> None:
    assert judge_request(headers) == status
    assert status_of(decode_headers(answer(status, headers))) == status


@pytest.mark.parametrize(
    "headers",
    [
        with_header(b":method", None),
        [*GOOD, (b":method", b"CONNECT")],
        [(b"x", b"y"), *GOOD],
        [(b"Host", b"x"), *GOOD],
    ],
)
def test_what_is_no_request(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Http3Error) as caught:
        judge_request(headers)
    assert caught.value.code == codes.MESSAGE_ERROR


@pytest.mark.parametrize("status", [b"", b"2", b"abc", b"2000", b"\xb2\xb2\xb2"])
def test_a_malformed_status(status: bytes) -> None:
    with pytest.raises(Http3Error):
        status_of([(b":status", status)])


def test_draft_02_is_confirmed_to_who_asks_for_it() -> None:
    given = (b"sec-webtransport-http3-draft", b"draft02")
    assert given in decode_headers(answer(200, GOOD))
    assert given not in decode_headers(answer(200, []))


def test_too_many_fields() -> None:
    many = encode_headers([(b"x-%d" % each, bytes(100)) for each in range(400)])
    with pytest.raises(Http3Error) as caught:
        decode_headers(many)
    assert caught.value.code == codes.EXCESSIVE_LOAD


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\xff", b"\x02\0\x80", b"\xff" * 40])
def test_malformed_fields(data: bytes) -> None:
    with pytest.raises(Http3Error) as caught:
        decode_headers(data)
    assert caught.value.code == codes.QPACK_FAILED


# --- addresses ------------------------------------------------------------------------------------


def test_addresses_carry_certhashes() -> None:
    published = Certificates(KEY, clock=lambda: NOW).published
    address = webtransport_address(("192.0.2.1", 4001), published)
    assert str(address).startswith(PLACE + "/certhash/uEi")
    assert find_place(address) == (("192.0.2.1", 4001), published)
    assert find_place(parse_address(PLACE)) == (("192.0.2.1", 4001), ())


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/192.0.2.1/udp/4001/quic-v1",
        "/ip4/192.0.2.1/tcp/4001/webtransport",
        "/ip4/192.0.2.1/udp/4001/webtransport",
        "/dns4/example.com/udp/1/quic-v1/webtransport",
        "/ip4/192.0.2.1/udp/4001/quic-v1/webtransport/ws",
    ],
)
def test_other_addresses(text: str) -> None:
    assert find_place(parse_address(text)) is None


def test_a_certhash_of_another_function_is_of_no_use() -> None:
    with pytest.raises(InvalidAddress):
        parse_address(PLACE + "/certhash/nonsense")
    sha512 = b"\x13\x40" + bytes(64)
    assert find_place(webtransport_address(("192.0.2.1", 1), [sha512])) == (("192.0.2.1", 1), ())


# --- certificates ---------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def test_certificates_follow_from_key_and_time() -> None:
    """A restarted host has those that it has told the network before."""
    once, again = (Certificates(KEY, clock=lambda: NOW) for _ in range(2))
    assert once.current.der == again.current.der
    other = Certificates(PrivateKey.generate(), clock=lambda: NOW)
    assert not set(other.published) & set(once.published)


def test_a_certificate_is_what_browsers_take() -> None:
    made = Certificates(KEY, clock=lambda: NOW).current
    certificate = x509.load_der_x509_certificate(made.der)
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1"
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert lifetime == VALIDITY == timedelta(days=14)
    assert len(list(certificate.extensions)) > 0
    check_certificate([made.der], accepted=[made.hash], now=NOW)


def test_rotation() -> None:
    """For a year, hour by hour: what is used was published before, and is valid with an hour to
    spare on both sides."""
    clock = Clock()
    certificates = Certificates(KEY, clock=clock)
    changes, before = 0, certificates.published
    for _ in range(365 * 24):
        clock.now += timedelta(hours=1)
        current, published = certificates.current, certificates.published
        assert published[0] == current.hash and len(set(published)) == 2
        for skew in (-CLOCK_SKEW, timedelta(), CLOCK_SKEW):
            check_certificate([current.der], accepted=[current.hash], now=clock.now + skew)
        assert set(published) <= set(certificates.confirmed)
        if published != before:
            changes += 1
            assert published[0] == before[1]
            assert before[0] in certificates.confirmed
            before = published
    assert changes in (26, 27)  # 365 days / (14 days - 2 hours)


def foreign(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    *,
    start: datetime = NOW - timedelta(days=1),
    days: float = 14,
) -> bytes:
    name = x509.Name([])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
    builder = builder.public_key(key.public_key()).not_valid_before(start)
    builder = builder.not_valid_after(start + timedelta(days=days))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


P256 = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    ("der", "words"),
    [
        (foreign(P256, days=15), "more than 14 days"),
        (foreign(P256, days=2, start=NOW - timedelta(days=3)), "not now"),
        (foreign(P256, start=NOW + timedelta(days=1)), "not now"),
        (foreign(rsa.generate_private_key(65537, 2048)), "no P-256 key"),
        (foreign(ec.generate_private_key(ec.SECP384R1())), "no P-256 key"),
        (b"\x30\x03rubbish", "certificate"),
        (bytes(20_000), "enormous"),
    ],
    ids=["long", "expired", "early", "rsa", "p384", "rubbish", "large"],
)
def test_a_certificate_that_is_refused_in_spite_of_its_hash(der: bytes, words: str) -> None:
    with pytest.raises(HandshakeError, match=words):
        check_certificate([der], accepted=[certhash(der)], now=NOW)


def test_the_wrong_certificate() -> None:
    good = foreign(P256)
    check_certificate([good], accepted=[bytes(34), certhash(good)], now=NOW)
    with pytest.raises(HandshakeError, match="none of those"):
        check_certificate([foreign(P256, days=13)], accepted=[certhash(good)], now=NOW)
    with pytest.raises(HandshakeError, match="no certificate"):
        check_certificate([], accepted=[certhash(good)], now=NOW)


def test_the_responder_confirms_its_certhashes_and_says_nothing_else() -> None:
    confirmed = Certificates(KEY, clock=lambda: NOW).confirmed
    dialing = Noise(PrivateKey.generate()).handshake(Role.CLIENT, expected_peer=None, muxers=())
    answering = Noise(KEY).handshake(
        Role.SERVER, expected_peer=None, muxers=(), certhashes=confirmed
    )
    answering.receive(dialing.take_output())
    dialing.receive(answering.take_output())
    answering.receive(dialing.take_output())
    assert dialing.certhashes == confirmed
    assert answering.certhashes == ()
    assert dialing.session is not None and dialing.session.muxer is None
