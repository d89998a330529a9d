"""`/tls/1.0.0`: handshakes in both roles, what is refused, and the records."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
from OpenSSL import SSL

from carrick.errors import (
    BothDialed,
    HandshakeError,
    InvalidSignature,
    PeerIdMismatch,
    ProtocolError,
)
from carrick.identity import KeyType, PrivateKey
from carrick.interfaces import Role, Session
from carrick.transports.security.tls import Tls, context, make_certificate
from carrick.transports.security.tls.handshake import MAX_HANDSHAKE
from carrick.transports.security.tls.records import TlsRecords
from tests.support.tls_defects import DEFECTS, HOST
from tests.support.tls_peers import (
    MPLEX,
    YAMUX,
    RawPeer,
    client,
    craft,
    exchange,
    new_certificate_key,
    now,
    raw_context,
    server,
    with_certificate,
)

CLIENT_KEY = PrivateKey.generate()
SERVER_KEY = PrivateKey.generate()
CLIENT = Tls(CLIENT_KEY)
SERVER = Tls(SERVER_KEY)


def sessions(one: Tls = CLIENT, other: Tls = SERVER) -> tuple[Session, Session]:
    dialer, listener = client(one), server(other)
    assert exchange(dialer, listener) == (None, None, b"")
    assert dialer.session is not None and listener.session is not None
    return dialer.session, listener.session


def seal(records: TlsRecords | Any, *pieces: bytes) -> bytes:
    out = bytearray(sum(map(len, pieces)) + records.overhead)
    return bytes(out[: records.seal(out, 0, pieces)])


def open_all(records: TlsRecords | Any, data: bytes) -> tuple[bytes, int]:
    got: list[bytes] = []
    end = records.open_all(memoryview(data), 0, len(data), got.append)
    return b"".join(got), end


# --- who is there -------------------------------------------------------------------------------


@pytest.mark.parametrize("type", list(KeyType))
def test_both_sides_learn_each_other(type: KeyType) -> None:
    dialer_key, listener_key = PrivateKey.generate(type), PrivateKey.generate(type)
    dialer = client(Tls(dialer_key), listener_key.peer_id)
    listener = server(Tls(listener_key), dialer_key.peer_id)
    assert exchange(dialer, listener) == (None, None, b"")
    assert dialer.session is not None and listener.session is not None
    assert dialer.session.peer_id == listener_key.peer_id
    assert dialer.session.public_key == listener_key.public_key
    assert listener.session.peer_id == dialer_key.peer_id
    assert listener.session.public_key == dialer_key.public_key


def test_client_expects_another_peer() -> None:
    dialer, listener = client(CLIENT, PrivateKey.generate().peer_id), server(SERVER)
    mine, theirs, _ = exchange(dialer, listener)
    assert isinstance(mine, PeerIdMismatch) and str(SERVER_KEY.peer_id) in str(mine)
    assert theirs is not None and "alert" in str(theirs)
    assert dialer.session is None and listener.session is None


def test_server_expects_another_peer() -> None:
    dialer, listener = client(CLIENT), server(SERVER, PrivateKey.generate().peer_id)
    mine, theirs, late = exchange(dialer, listener)
    assert isinstance(theirs, PeerIdMismatch) and listener.session is None
    # tls.md, "Note for clients": the client has finished, and hears of it when it reads
    assert mine is None and dialer.session is not None
    with pytest.raises(HandshakeError, match="refused the TLS handshake: .*alert"):
        open_all(dialer.session.records, late)


@pytest.mark.parametrize("role", [Role.CLIENT, Role.SERVER])
@pytest.mark.parametrize("name", DEFECTS)
def test_defective_certificate(name: str, role: Role) -> None:
    offender = with_certificate(HOST, DEFECTS[name]())
    dialer = client(offender if role is Role.CLIENT else CLIENT)
    listener = server(offender if role is Role.SERVER else SERVER)
    mine, theirs, late = exchange(dialer, listener)
    if role is Role.SERVER:
        assert mine is not None
        assert dialer.session is None and listener.session is None
    else:
        assert theirs is not None and listener.session is None
        assert dialer.session is not None
        if late:  # nothing, if the handshake grew too long to be read
            with pytest.raises(HandshakeError, match="refused the TLS handshake"):
                open_all(dialer.session.records, late)


@pytest.mark.parametrize("role", [Role.CLIENT, Role.SERVER])
def test_two_certificates(role: Role) -> None:
    host = PrivateKey.generate()
    offender = Tls(host)
    second = make_certificate(PrivateKey.generate(), now=now())
    for each in (offender._client, offender._server):
        each.add_extra_chain_cert(second.certificate)
    dialer = client(offender if role is Role.CLIENT else CLIENT)
    listener = server(offender if role is Role.SERVER else SERVER)
    mine, theirs, _ = exchange(dialer, listener)
    refused = mine if role is Role.SERVER else theirs
    assert refused is not None and "2 certificates" in str(refused)
    assert (dialer if role is Role.SERVER else listener).session is None


@pytest.mark.parametrize("role", [Role.CLIENT, Role.SERVER])
def test_same_certificate_twice(role: Role) -> None:
    offender = Tls(PrivateKey.generate())
    for each in (offender._client, offender._server):
        each.add_extra_chain_cert(offender.certificate.certificate)
    dialer = client(offender if role is Role.CLIENT else CLIENT)
    listener = server(offender if role is Role.SERVER else SERVER)
    exchange(dialer, listener)
    assert (dialer if role is Role.SERVER else listener).session is None


def test_client_without_certificate() -> None:
    peer, listener = RawPeer(raw_context(), Role.CLIENT), server(SERVER)
    listener.receive(peer.step())
    with pytest.raises(HandshakeError, match="peer did not return a certificate"):
        listener.receive(peer.step(listener.take_output()))
    assert listener.session is None
    peer.tls.bio_write(listener.take_output())
    with pytest.raises(SSL.Error, match="certificate required"):
        peer.tls.recv(1)


def test_connections_of_one_context_have_their_own_demands() -> None:
    other = PrivateKey.generate()
    good, bad = client(CLIENT, SERVER_KEY.peer_id), client(CLIENT, other.peer_id)
    good_listener = server(SERVER, muxers=[YAMUX])
    bad_listener = server(SERVER, other.peer_id, muxers=[MPLEX])
    hellos = good.take_output(), bad.take_output()
    good_listener.receive(hellos[0])
    bad_listener.receive(hellos[1])
    with pytest.raises(PeerIdMismatch):
        bad.receive(bad_listener.take_output())
    good.receive(good_listener.take_output())
    good_listener.receive(good.take_output())
    assert good.session is not None and good_listener.session is not None
    assert good.session.muxer == good_listener.session.muxer == YAMUX


def test_our_check_does_not_depend_on_the_callback() -> None:
    """Were OpenSSL ever to skip the callback, there would still be no session."""
    host = PrivateKey.generate()
    offender = with_certificate(host, craft(certificate_key=new_certificate_key(), extension=None))
    careless = Tls(SERVER_KEY)
    careless._server.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
    listener = server(careless)
    _, theirs, _ = exchange(client(offender), listener)
    assert theirs is not None and "no libp2p extension" in str(theirs)
    assert listener.session is None


def test_failed_handshake_stays_failed() -> None:
    listener = server(SERVER)
    with pytest.raises(HandshakeError):
        listener.receive(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(HandshakeError):
        listener.receive(client(CLIENT).take_output())
    assert listener.session is None


def test_protocol_id() -> None:
    assert Tls.id == "/tls/1.0.0"


def test_certificate_is_made_once() -> None:
    tls = Tls(CLIENT_KEY)
    client(tls)
    first = tls.certificate
    server(tls)
    assert tls.certificate is first


# --- the early muxer ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "result"),
    [
        (["muxer1", "muxer2"], ["muxer2", "muxer1"], "muxer1"),  # the client's preference
        ([YAMUX, MPLEX], [MPLEX, YAMUX], YAMUX),
        ([MPLEX, YAMUX], [YAMUX], YAMUX),
        ([YAMUX], [], None),
        ([], [YAMUX], None),
        ([], [], None),
        ([MPLEX], [YAMUX], None),
    ],
)
def test_early_muxer(ours: list[str], theirs: list[str], result: str | None) -> None:
    dialer, listener = client(CLIENT, muxers=ours), server(SERVER, muxers=theirs)
    assert exchange(dialer, listener) == (None, None, b"")
    assert dialer.session is not None and listener.session is not None
    assert dialer.session.muxer == listener.session.muxer == result


def test_libp2p_is_offered_last() -> None:
    offered: list[list[bytes]] = []

    def choose(_: SSL.Connection, protocols: list[bytes]) -> bytes:
        offered.append(protocols)
        return b"libp2p"

    lax = raw_context(make_certificate(SERVER_KEY, now=now()))
    lax.set_alpn_select_callback(choose)
    peer = RawPeer(lax, Role.SERVER)
    peer.step(client(CLIENT, muxers=[YAMUX, MPLEX]).take_output())
    assert offered == [[YAMUX.encode(), MPLEX.encode(), b"libp2p"]]


def _raw_client(protocols: Sequence[bytes]) -> RawPeer:
    peer = RawPeer(raw_context(make_certificate(CLIENT_KEY, now=now())), Role.CLIENT)
    if protocols:
        peer.tls.set_alpn_protos(list(protocols))
    return peer


@pytest.mark.parametrize("protocols", [[b"h2"], [b"h2", b"/other/1.0.0"]])
def test_no_common_protocol(protocols: list[bytes]) -> None:
    peer, listener = _raw_client(protocols), server(SERVER)
    with pytest.raises(HandshakeError, match="ALPN"):
        listener.receive(peer.step())
    peer.step(listener.take_output())
    assert peer.error is not None and "no application protocol" in str(peer.error)


def test_client_without_alpn_negotiates_the_muxer_later() -> None:
    peer, listener = _raw_client([]), server(SERVER)
    listener.receive(peer.step())
    listener.receive(peer.step(listener.take_output()))
    assert listener.session is not None and listener.session.muxer is None


def test_server_chooses_what_was_not_offered() -> None:
    lax = raw_context(make_certificate(SERVER_KEY, now=now()))
    lax.set_alpn_select_callback(lambda *_: b"h2")
    peer, dialer = RawPeer(lax, Role.SERVER), client(CLIENT)
    with pytest.raises(HandshakeError):
        dialer.receive(peer.step(dialer.take_output()))
    assert dialer.session is None


# --- what TLS must not do -----------------------------------------------------------------------


def test_nothing_below_tls_1_3() -> None:
    old = raw_context(make_certificate(CLIENT_KEY, now=now()))
    old.set_max_proto_version(SSL.TLS1_2_VERSION)
    peer, listener = RawPeer(old, Role.CLIENT), server(SERVER)
    with pytest.raises(HandshakeError, match="protocol"):
        listener.receive(peer.step())
    peer.step(listener.take_output())
    assert peer.error is not None and "protocol version" in str(peer.error)

    peer, dialer = RawPeer(old, Role.SERVER), client(CLIENT)
    with pytest.raises(HandshakeError, match="protocol"):
        dialer.receive(peer.step(dialer.take_output()))


def test_no_server_name_is_sent() -> None:
    lax = raw_context(make_certificate(SERVER_KEY, now=now()))
    names: list[bytes | None] = []
    lax.set_tlsext_servername_callback(lambda tls: names.append(tls.get_servername()))
    RawPeer(lax, Role.SERVER).step(client(CLIENT).take_output())
    assert names == [None]


def test_server_name_is_ignored() -> None:
    peer, listener = _raw_client([b"libp2p"]), server(SERVER)
    peer.tls.set_tlsext_host_name(b"example.com")
    listener.receive(peer.step())
    listener.receive(peer.step(listener.take_output()))
    assert listener.session is not None


def test_no_resumption() -> None:
    """A client that keeps its session is verified anew, by its certificate."""
    asked: list[int] = []
    lax = raw_context(make_certificate(CLIENT_KEY, now=now()))
    lax.set_verify(SSL.VERIFY_PEER, lambda *_: bool(asked.append(1)) or True)
    peer, listener = RawPeer(lax, Role.CLIENT), server(SERVER)
    listener.receive(peer.step())
    listener.receive(peer.step(listener.take_output()))
    assert listener.session is not None
    peer.tls.bio_write(seal(listener.session.records, b"x"))
    assert peer.tls.recv(10) == b"x"
    kept = peer.tls.get_session()
    assert kept is not None
    first = len(asked)

    again, listener = RawPeer(lax, Role.CLIENT), server(SERVER)
    again.tls.set_session(kept)
    listener.receive(again.step())
    listener.receive(again.step(listener.take_output()))
    assert len(asked) == 2 * first, "the server showed its certificate again"
    assert listener.session is not None and listener.session.peer_id == CLIENT_KEY.peer_id


def test_cipher_preference(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_aes, best in ((True, "TLS_AES_128_GCM_SHA256"), (False, "TLS_CHACHA20")):
        monkeypatch.setattr(context, "_has_aes", lambda has_aes=has_aes: has_aes)
        peer = RawPeer(raw_context(make_certificate(SERVER_KEY, now=now())), Role.SERVER)
        peer.step(client(Tls(CLIENT_KEY)).take_output())
        assert str(peer.tls.get_cipher_name()).startswith(best)


# --- bounds before the peer is known ------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x13/multistream/1.0.0\n",
        b"\x16\x02\x00\x00\x10",  # not version 3.x
        b"\x16\x03\x01\xff\xff",  # longer than a record may be
        b"\x17\x03\x03\x00\x01\x00",  # application data first
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",  # a server hello from a client
        b"\x15\x03\x01\x00\x02\x02\x28",  # an alert first
    ],
)
def test_garbage(data: bytes) -> None:
    listener = server(SERVER)
    with pytest.raises(HandshakeError) as caught:
        listener.receive(data)
    assert caught.value.message and "\n" not in caught.value.message
    assert listener.session is None


def test_server_name_of_64_kib() -> None:
    listener = server(SERVER)
    hello = b"\x01\x01\x00\x00" + bytes(1 << 16)
    with pytest.raises(HandshakeError):
        for at in range(0, len(hello), 16384):
            part = hello[at : at + 16384]
            listener.receive(b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part)


def test_bytes_before_the_session_are_bounded() -> None:
    """A client hello of 128 KiB, in records of 1 KiB: given up early."""
    listener = server(SERVER)
    record = b"\x16\x03\x01\x04\x00"
    sent = 0
    with pytest.raises(HandshakeError):
        listener.receive(record + b"\x01\x01\xff\xff\x03\x03" + bytes(1018))
        while sent <= 2 * MAX_HANDSHAKE:
            listener.receive(record + bytes(1024))
            sent += 1029
    assert sent <= MAX_HANDSHAKE


def test_certificate_that_is_announced_with_100_kib() -> None:
    """A large extension needs several records, and is refused."""
    key = new_certificate_key()
    offender = with_certificate(CLIENT_KEY, craft(certificate_key=key, extension=bytes(60 << 10)))
    listener = server(SERVER)
    _, theirs, _ = exchange(client(offender), listener)
    assert theirs is not None and listener.session is None


def test_data_behind_the_handshake_does_not_count() -> None:
    dialer, listener = client(CLIENT), server(SERVER)
    listener.receive(dialer.take_output())
    dialer.receive(listener.take_output())
    assert dialer.session is not None
    last = dialer.take_output()
    data = seal(dialer.session.records, bytes(50_000)) + seal(dialer.session.records, bytes(50_000))
    listener.receive(last + data)
    assert listener.session is not None
    assert listener.session.received == data
    assert open_all(listener.session.records, data) == (bytes(100_000), len(data))


@pytest.mark.parametrize("outcome", ["half-open", "failed", "refused", "done"])
def test_handshake_is_freed_without_the_garbage_collector(outcome: str) -> None:
    """A flood of handshakes leaves nothing behind, not even until the next collection."""
    gc.collect()
    gc.disable()
    try:
        expected = PrivateKey.generate().peer_id if outcome == "refused" else None
        dialer, listener = client(CLIENT), server(SERVER, expected)
        if outcome == "half-open":
            listener.receive(dialer.take_output())
        elif outcome == "failed":
            with contextlib.suppress(HandshakeError):
                listener.receive(b"GET / HTTP/1.1")
        else:
            exchange(dialer, listener)
            assert (listener.session is None) == (outcome == "refused")
        alive = weakref.ref(listener), weakref.ref(listener._tls), weakref.ref(listener._check)
        del listener
        assert [each() for each in alive] == [None] * 3
    finally:
        gc.enable()


# --- records ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 12, 16384, 16385, 65536])
def test_records_round_trip(size: int) -> None:
    one, other = sessions()
    for sender, receiver in ((one, other), (other, one)):
        data = bytes(range(256)) * (size // 256 + 1)
        data = data[:size]
        sealed = seal(sender.records, data[: size // 3], data[size // 3 :])
        assert len(sealed) <= size + sender.records.overhead
        assert open_all(receiver.records, sealed) == (data, len(sealed))


def test_max_plain_fits_overhead() -> None:
    records = sessions()[1].records
    assert records.max_plain == 65536
    sealed = seal(records, bytes(records.max_plain))
    assert len(sealed) <= records.max_plain + records.overhead


def test_incomplete_record_stays() -> None:
    one, other = sessions()
    first, second = seal(one.records, b"first"), seal(one.records, b"second")
    data = first + second
    for cut in range(len(first), len(data)):
        if cut == len(first):
            assert open_all(other.records, data[:cut]) == (b"first", len(first))
        else:
            assert open_all(other.records, data[len(first) : cut]) == (b"", 0)
    assert open_all(other.records, second) == (b"second", len(second))


def test_seal_writes_where_it_is_told() -> None:
    one, other = sessions()
    out = bytearray(b"\xaa" * 2000)
    end = one.records.seal(out, 100, [b"a", memoryview(b"bc"), bytearray(b"d")])
    assert out[:100] == b"\xaa" * 100 and out[end:] == b"\xaa" * (2000 - end)
    got: list[bytes] = []
    assert other.records.open_all(memoryview(out), 100, end, got.append) == end
    assert got == [b"abcd"]


@pytest.mark.parametrize("at", [5, 10, -1])
def test_tampered_record(at: int) -> None:
    one, other = sessions()
    sealed = bytearray(seal(one.records, b"hello"))
    sealed[at] ^= 1
    with pytest.raises(ProtocolError, match="TLS"):
        open_all(other.records, bytes(sealed))
    alert = other.records.closing()
    with pytest.raises(ProtocolError, match="alert"):
        open_all(one.records, alert)


def test_replayed_record() -> None:
    one, other = sessions()
    sealed = seal(one.records, b"hello")
    open_all(other.records, sealed)
    with pytest.raises(ProtocolError):
        open_all(other.records, sealed)


@pytest.mark.parametrize("header", [b"\x17\x03\x03\x42\x01", b"HTTP/", b"\x17\x02\x03\x00\x20"])
def test_no_tls_record(header: bytes) -> None:
    with pytest.raises(ProtocolError):
        open_all(sessions()[0].records, header + bytes(32))


def test_closing_says_goodbye() -> None:
    one, other = sessions()
    last = seal(one.records, b"last")
    goodbye = one.records.closing()
    assert goodbye
    assert open_all(other.records, last + goodbye) == (b"last", len(last + goodbye))
    # RFC 8446 6.1: what follows is ignored
    assert open_all(other.records, last) == (b"", len(last))
    assert other.records.closing()


def test_errors_elsewhere_do_not_break_records() -> None:
    """OpenSSL has one queue of errors per thread, and other users."""
    one, other = sessions()
    for type in KeyType:
        key = PrivateKey.generate(type)
        with pytest.raises(InvalidSignature):
            key.public_key.verify(b"data", key.sign(b"other data"))
        with pytest.raises(InvalidSignature):
            key.public_key.verify(b"data", b"rubbish")
        sealed = seal(one.records, b"hello")
        assert open_all(other.records, sealed[:-1]) == (b"", 0)
        assert open_all(other.records, sealed) == (b"hello", len(sealed))


# --- key log ------------------------------------------------------------------------------------


def test_keylog_is_opt_in() -> None:
    lines: list[str] = []
    sessions(Tls(CLIENT_KEY, keylog=lines.append))
    labels = {line.split()[0] for line in lines}
    assert {"CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"} <= labels
    assert all(len(line.split()) == 3 for line in lines)
    before = len(lines)
    sessions()
    assert len(lines) == before


def test_two_clients_are_told_apart_from_garbage() -> None:
    ours, theirs = (
        Tls(PrivateKey.generate()).handshake(Role.CLIENT, expected_peer=None, muxers=())
        for _ in range(2)
    )
    with pytest.raises(BothDialed):
        ours.receive(theirs.take_output())
