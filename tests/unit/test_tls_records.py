"""The record layer of TLS 1.3: vectors of RFC 8448, OpenSSL as the other side, and what is refused.

"section" without more is one of RFC 8446.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from OpenSSL import SSL

from carrick.errors import HandshakeError, ProtocolError
from carrick.identity import PrivateKey
from carrick.interfaces import Role
from carrick.transports.security.tls import Tls, make_certificate, records
from carrick.transports.security.tls.frames import ALERT, APPLICATION_DATA, HANDSHAKE
from carrick.transports.security.tls.handshake import PeerCheck
from carrick.transports.security.tls.keys import SUITES, TrafficSecret, expand_label
from carrick.transports.security.tls.messages import KEY_UPDATE
from carrick.transports.security.tls.records import TlsRecords
from tests.support.tls_peers import RawPeer, Sealer, client, now, raw_context, server

AES_128 = "TLS_AES_128_GCM_SHA256"
ASK_FOR_UPDATE = b"\x18\x00\x00\x01\x01"

# RFC 8448 section 3, "Simple 1-RTT Handshake"
CLIENT_SECRET = bytes.fromhex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5")
SERVER_SECRET = bytes.fromhex("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643")
SERVER_DATA = bytes.fromhex(
    "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59"
    "a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d"
)
CLIENT_CLOSE = bytes.fromhex("1703030013c9872760655666b74d7ff1153efd6db6d0b0e3")
SERVER_CLOSE = bytes.fromhex("1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9")


def secret(seed: int = 1, suite: str = AES_128) -> TrafficSecret:
    size = 48 if SUITES[suite].hash == "sha384" else 32
    return TrafficSecret(SUITES[suite], bytes((seed,)) * size)


def peer(role: Role = Role.SERVER, suite: str = AES_128) -> tuple[Sealer, TlsRecords]:
    """(what the peer can send, our records in `role`)"""
    return Sealer(secret(1, suite)), TlsRecords(secret(2, suite), secret(1, suite), role)


def seal(sender: TlsRecords, *pieces: bytes) -> bytes:
    out = bytearray(sum(map(len, pieces)) + sender.overhead)
    return bytes(out[: sender.seal(out, 0, pieces)])


def open_all(receiver: TlsRecords, data: bytes) -> bytes:
    got: list[bytes] = []
    assert receiver.open_all(memoryview(data), 0, len(data), got.append) == len(data)
    return b"".join(got)


# --- keys and records of RFC 8448 ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("traffic_secret", "key", "iv"),
    [
        (CLIENT_SECRET, "17422dda596ed5d9acd890e3c63f5051", "5b78923dee08579033e523d9"),
        (SERVER_SECRET, "9f02283b6c9c07efc26bb9f2ac92e356", "cf782b88dd83549aadf1e984"),
    ],
)
def test_traffic_keys_of_rfc_8448(traffic_secret: bytes, key: str, iv: str) -> None:
    assert expand_label(traffic_secret, "key", 16, "sha256").hex() == key
    assert expand_label(traffic_secret, "iv", 12, "sha256").hex() == iv
    assert TrafficSecret(SUITES[AES_128], traffic_secret).iv() == int(iv, 16)


def test_records_of_rfc_8448() -> None:
    suite = SUITES[AES_128]
    ours, theirs = TrafficSecret(suite, CLIENT_SECRET), TrafficSecret(suite, SERVER_SECRET)
    mine, other = TlsRecords(ours, theirs, Role.CLIENT), TlsRecords(theirs, ours, Role.SERVER)
    ticket = b"\x04\x00\x00\x03abc"  # what the RFC's server sent first was longer
    out = bytearray(100)
    first = other._seal_record(memoryview(out), 0, [ticket], b"\x16")
    assert open_all(mine, bytes(out[:first])) == b""
    assert seal(other, bytes(range(50))) == SERVER_DATA
    assert other.closing() == SERVER_CLOSE
    assert open_all(mine, SERVER_DATA + SERVER_CLOSE) == bytes(range(50))
    seal(mine, bytes(range(50)))
    assert mine.closing() == CLIENT_CLOSE


# --- OpenSSL on the other side ------------------------------------------------------------------


def connect(role: Role, suite: str) -> tuple[RawPeer, TlsRecords]:
    """OpenSSL in `role`, and our records in the other."""
    theirs = raw_context(make_certificate(PrivateKey.generate(), now=now()))
    theirs.set_tls13_ciphersuites(suite.encode())
    raw = RawPeer(theirs, role)
    if role is Role.CLIENT:
        ours = server(Tls(PrivateKey.generate()))
        ours.receive(raw.step())
        ours.receive(raw.step(ours.take_output()))
        assert raw.step(ours.take_output()) == b""
    else:
        ours = client(Tls(PrivateKey.generate()))
        ours.receive(raw.step(ours.take_output()))
        last = ours.take_output()
        tickets = raw.step(last)
        assert tickets and ours.session is not None
        assert open_all(ours.session.records, tickets) == b""
    assert ours.session is not None and raw.error is None
    assert isinstance(ours.session.records, TlsRecords)
    assert raw.tls.get_cipher_name() == suite
    return raw, ours.session.records


both = pytest.mark.parametrize("role", [Role.CLIENT, Role.SERVER])
suites = pytest.mark.parametrize("suite", list(SUITES))


def read(raw: RawPeer, data: bytes) -> bytes:
    got = b""
    for at in range(0, len(data), 10_000):
        raw.tls.bio_write(data[at : at + 10_000])
        try:
            while True:
                got += raw.tls.recv(1 << 16)
        except SSL.WantReadError:
            pass
    return got


@both
@suites
def test_openssl_in_both_directions(role: Role, suite: str) -> None:
    raw, ours = connect(role, suite)
    data = bytes(range(251)) * 200
    for size in (1, 16_383, 16_384, 16_385, 50_000):
        assert read(raw, seal(ours, data[: size // 3], data[size // 3 : size])) == data[:size]
        raw.tls.sendall(data[:size])
        assert open_all(ours, raw.output()) == data[:size]
    with pytest.raises(SSL.ZeroReturnError):
        read(raw, ours.closing())
    raw.tls.shutdown()
    assert open_all(ours, raw.output()) == b""


@both
@suites
def test_openssl_follows_our_key_updates(
    role: Role, suite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Section 5.5: no key seals too many records."""
    raw, ours = connect(role, suite)
    monkeypatch.setattr(records, "REKEY_AFTER", 3)
    for turn in range(20):
        assert read(raw, seal(ours, bytes((turn,)) * 5)) == bytes((turn,)) * 5
    assert ours._sealed < 4


@both
@suites
def test_openssl_changes_its_keys(role: Role, suite: str) -> None:
    """Asked by us; then both have new keys."""
    raw, ours = connect(role, suite)
    for _ in range(3):
        out = bytearray(100)
        at = ours._seal_record(memoryview(out), 0, [ASK_FOR_UPDATE], bytes((HANDSHAKE,)))
        ours._use_sending(ours._sending.updated())
        assert read(raw, bytes(out[:at])) == b""
        raw.tls.send(b"theirs")
        before = ours._receiving
        assert open_all(ours, raw.output()) == b"theirs"
        assert ours._receiving is not before
        assert not ours._messages.update_due, "theirs does not ask for one in return"
        assert read(raw, seal(ours, b"ours")) == b"ours"


@both
def test_openssl_tells_why_it_fails(role: Role) -> None:
    raw, ours = connect(role, AES_128)
    broken = bytearray(seal(ours, b"hello"))
    broken[-1] ^= 1
    with pytest.raises(SSL.Error):
        read(raw, bytes(broken))
    with pytest.raises(ProtocolError, match="alert bad record mac"):
        open_all(ours, raw.output())


@both
def test_openssl_understands_our_alert(role: Role) -> None:
    raw, ours = connect(role, AES_128)
    with pytest.raises(ProtocolError, match="does not authenticate"):
        open_all(ours, b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(SSL.Error, match="bad record mac"):
        read(raw, ours.closing())


def test_server_sends_no_tickets() -> None:
    dialer, listener = client(Tls(PrivateKey.generate())), server(Tls(PrivateKey.generate()))
    listener.receive(dialer.take_output())
    dialer.receive(listener.take_output())
    listener.receive(dialer.take_output())
    assert listener.session is not None
    assert listener.take_output() == b""
    assert len(seal(listener.session.records, b"hello")) == 5 + 5 + 1 + 16


def test_no_session_without_traffic_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PeerCheck, "learn_secret", lambda self, line: None)
    dialer, listener = client(Tls(PrivateKey.generate())), server(Tls(PrivateKey.generate()))
    listener.receive(dialer.take_output())
    with pytest.raises(HandshakeError, match="traffic secrets"):
        dialer.receive(listener.take_output())
    assert dialer.session is None


# --- what is allowed ----------------------------------------------------------------------------


@suites
def test_padding(suite: str) -> None:
    sealer, ours = peer(suite=suite)
    for zeros in (1, 100, 16_384 - 5):
        assert open_all(ours, sealer.inner(b"hello\x17" + bytes(zeros))) == b"hello"
    assert open_all(ours, sealer.inner(b"\x17" + bytes(300))) == b""
    assert open_all(ours, sealer.record(b"\x00\x00")) == b"\x00\x00"


def test_records_of_a_piece_are_joined() -> None:
    sealer, ours = peer()
    data = b"".join(sealer.record(bytes(16_384)) for _ in range(9)) + sealer.record(b"x")
    sizes: list[int] = []
    ours.open_all(memoryview(data), 0, len(data), lambda plain: sizes.append(len(plain)))
    assert sizes == [65_536, 65_536, 16_385]


def test_what_came_before_a_bad_record_is_delivered() -> None:
    sealer, ours = peer()
    data = sealer.record(b"good") + sealer.record(b"bad")[:-1] + b"?"
    got: list[bytes] = []
    with pytest.raises(ProtocolError, match="record 1 does not authenticate"):
        ours.open_all(memoryview(data), 0, len(data), got.append)
    assert got == [b"good"]


def test_tickets_are_skipped() -> None:
    """Cut anywhere, two in a record, and empty ones."""
    sealer, ours = peer(Role.CLIENT)
    ticket = b"\x04\x00\x01\x00" + bytes(256)
    both_tickets = ticket + b"\x04\x00\x00\x00" + ticket
    for cut in range(1, len(both_tickets)):
        data = sealer.record(both_tickets[:cut], HANDSHAKE)
        data += sealer.record(both_tickets[cut:], HANDSHAKE)
        assert open_all(ours, data + sealer.record(b"data")) == b"data"


def test_large_ticket_costs_no_memory() -> None:
    sealer, ours = peer(Role.CLIENT)
    open_all(ours, sealer.record(b"\x04\xff\xff\xff" + bytes(16_000), HANDSHAKE))
    assert ours._messages.partial and len(ours._messages._held) <= 5


@pytest.mark.parametrize("ask", [False, True])
def test_key_update(ask: bool) -> None:
    """Section 4.6.3: answered once, before the next data, however often the peer asks."""
    sealer, ours = peer()
    reader = TlsRecords(secret(3), secret(2), Role.SERVER)
    for _ in range(2):
        data = sealer.record(b"old") + sealer.update(ASK_FOR_UPDATE if ask else KEY_UPDATE)
        data += sealer.update(ASK_FOR_UPDATE if ask else KEY_UPDATE) + sealer.record(b"new")
        assert open_all(ours, data) == b"oldnew"
        sealed = seal(ours, bytes(65_536))
        assert len(sealed) <= 65_536 + ours.overhead
        before = reader._receiving
        assert open_all(reader, sealed) == bytes(65_536)
        assert (reader._receiving is not before) == ask
        assert open_all(reader, seal(ours, b"more")) == b"more"


def test_key_update_cut_anywhere() -> None:
    for cut in range(1, 5):
        sealer, ours = peer()
        data = sealer.record(KEY_UPDATE[:cut], HANDSHAKE) + sealer.update(KEY_UPDATE[cut:])
        assert open_all(ours, data + sealer.record(b"new")) == b"new"


def test_key_updates_are_bounded_by_the_data_between_them() -> None:
    sealer, ours = peer()
    for _ in range(32):
        open_all(ours, sealer.update() + sealer.record(b"x"))
    for _ in range(3):  # each earns another
        for _ in range(64):
            open_all(ours, sealer.record(bytes(16_384)))
        open_all(ours, sealer.update())
    with pytest.raises(ProtocolError, match="too many key updates"):
        open_all(ours, sealer.update() + sealer.record(b"x"))


def test_user_canceled_is_ignored() -> None:
    """Section 6.1: a close_notify follows."""
    sealer, ours = peer()
    data = sealer.record(b"\x01\x5a", ALERT) + sealer.record(b"x") + sealer.record(b"\x01\x00", 21)
    assert open_all(ours, data + sealer.record(b"ignored")) == b"x"


# --- what is refused, and how the peer learns of it ---------------------------------------------


def _refused(role: Role, records_of: Sequence[bytes], match: str) -> int:
    """Returns the description in our alert."""
    sealer, ours = peer(role)
    data = b""
    for inner in records_of:
        data += sealer.inner(inner)
    with pytest.raises(ProtocolError, match=match):
        open_all(ours, data)
    reader = TlsRecords(secret(3), secret(2), Role.SERVER)
    goodbye = ours.closing()
    with pytest.raises(ProtocolError, match="TLS: alert"):
        open_all(reader, goodbye)
    return Sealer(secret(2))._cipher.decrypt(
        secret(2).iv().to_bytes(12, "big"), goodbye[5:], goodbye[:5]
    )[1]


@pytest.mark.parametrize(
    ("inners", "match", "description"),
    [
        ([bytes(10)], "no content type", 10),
        ([b"x\x14"], "content type 20", 10),  # change_cipher_spec, protected
        ([b"x\x18"], "content type 24", 10),
        ([b"\x16"], "empty handshake record", 10),
        ([b"\x15"], "an alert of 0 bytes", 50),
        ([b"\x01\x15"], "an alert of 1 bytes", 50),
        ([b"\x01\x00\x01\x00\x15"], "an alert of 4 bytes", 50),
        ([b"\x18\x00\x00\x01\x02\x16"], "a key update with 2", 47),
        ([b"\x18\x00\x00\x02\x00\x00\x16"], "a key update of 2 bytes", 50),
        ([b"\x18\x00\x00\x00\x16"], "a key update of 0 bytes", 50),
        ([KEY_UPDATE + KEY_UPDATE + b"\x16"], "goes on behind a key update", 10),
        ([b"\x0d\x00\x00\x00\x16"], "handshake message 13", 10),  # certificate request
        ([b"\x01\x00\x00\x00\x16"], "handshake message 1", 10),  # renegotiation
        ([b"\x04\x00\x00\x00\x16"], "handshake message 4", 10),  # a ticket from a client
        ([KEY_UPDATE[:2] + b"\x16", b"data\x17"], "data within a handshake message", 10),
        ([bytes(16_385) + b"\x17"], "16386 bytes in a record", 22),
        ([b"x\x17" + bytes(16_384)], "16386 bytes in a record", 22),
    ],
)
def test_refused(inners: list[bytes], match: str, description: int) -> None:
    assert _refused(Role.SERVER, inners, match) == description


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"\x14\x03\x03\x00\x01\x01", "not protected"),  # section 5: only before Finished
        (b"\x15\x03\x03\x00\x02\x02\x28", "not protected"),
        (b"\x16\x03\x03\x00\x04\x00\x00\x00\x00", "not protected"),
        (b"\x17\x03\x03\x00\x00", "a record of 0 bytes"),
        (b"\x17\x03\x03\x00\x10" + bytes(16), "a record of 16 bytes"),
        (b"\x17\x03\x03\x41\x01", "16640 allowed"),
        (b"\x17\x02\x03\x00\x20", "does not speak TLS"),
        (b"HTTP/1.1 ", "does not speak TLS"),
    ],
)
def test_refused_before_decryption(data: bytes, match: str) -> None:
    _, ours = peer()
    with pytest.raises(ProtocolError, match=match):
        open_all(ours, data)


def test_empty_handshake_record_while_a_ticket_is_skipped() -> None:
    sealer, ours = peer(Role.CLIENT)
    open_all(ours, sealer.record(b"\x04\x00\x10\x00", HANDSHAKE))
    with pytest.raises(ProtocolError, match="within a handshake message"):
        open_all(ours, sealer.record(b"data"))


@pytest.mark.parametrize("kind", [HANDSHAKE, ALERT, APPLICATION_DATA])
def test_records_without_data_are_bounded(kind: int) -> None:
    content = {HANDSHAKE: b"\x04\x00\x00\x00", ALERT: b"\x01\x5a", APPLICATION_DATA: b""}[kind]
    sealer, ours = peer(Role.CLIENT)
    for _ in range(32):
        open_all(ours, sealer.record(content, kind))
    open_all(ours, sealer.record(b"x"))
    for _ in range(32):
        open_all(ours, sealer.record(content, kind))
    with pytest.raises(ProtocolError, match="in a row without data"):
        open_all(ours, sealer.record(content, kind))


def test_records_do_not_move_between_places() -> None:
    """The number is part of the nonce: no replay, no reordering, no reflection."""
    sealer, ours = peer()
    first, second = sealer.record(b"first"), sealer.record(b"second")
    with pytest.raises(ProtocolError):
        open_all(peer()[1], second)
    assert open_all(ours, first) == b"first"
    for wrong in (first, seal(ours, b"ours")):
        with pytest.raises(ProtocolError):
            open_all(ours, wrong)


def test_header_is_authenticated() -> None:
    """Section 5.2: all five bytes. The version is not looked at otherwise (5.1)."""
    sealer, ours = peer()
    other_version = sealer.inner(b"hello\x17", header=b"\x17\x03\x01")
    assert open_all(ours, other_version) == b"hello"
    sealed = bytearray(sealer.record(b"hello"))
    sealed[2] = 1
    with pytest.raises(ProtocolError, match="authenticate"):
        open_all(ours, bytes(sealed))


def test_sequence_numbers_do_not_wrap() -> None:
    sealer, ours = peer()
    sealer.sequence = ours._opened = 2**64 - 1
    assert open_all(ours, sealer.record(b"last")) == b"last"
    with pytest.raises(ProtocolError, match="used up"):
        open_all(ours, b"\x17\x03\x03\x00\x20" + bytes(32))


def test_client_is_refused_by_an_alert_only_before_the_first_data() -> None:
    for data, error in ((b"", HandshakeError), (b"x", ProtocolError)):
        sealer, ours = peer(Role.CLIENT)
        if data:
            open_all(ours, sealer.record(data))
        with pytest.raises(ProtocolError, match="alert bad certificate") as caught:
            open_all(ours, sealer.record(b"\x02\x2a", ALERT))
        assert type(caught.value) is error


def test_out_that_is_too_short() -> None:
    _, ours = peer()
    with pytest.raises(ValueError):
        ours.seal(bytearray(20), 0, [b"hello"])
