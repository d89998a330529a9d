"""`/tls/1.0.0` for any bytes, cut anywhere."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.errors import HandshakeError, ProtocolError
from carrick.identity import PrivateKey
from carrick.interfaces import Role, Session
from carrick.transports.security.tls import Tls, TlsHandshake, make_certificate, verify_certificate
from carrick.transports.security.tls.keys import SUITES, TrafficSecret
from carrick.transports.security.tls.records import TlsRecords
from carrick.transports.security.tls.signed_key import (
    MAX_SIGNED_KEY,
    decode_signed_key,
    encode_signed_key,
)
from tests.support.tls_peers import (
    Sealer,
    client,
    craft,
    exchange,
    new_certificate_key,
    now,
    server,
)

CLIENT = Tls(PrivateKey.generate())
SERVER = Tls(PrivateKey.generate())
MADE = make_certificate(PrivateKey.generate(), now=now())
KEY = new_certificate_key()

cuts = st.lists(st.integers(1, 700), min_size=1, max_size=8)


def feed(handshake: TlsHandshake, data: bytes, sizes: list[int]) -> bytes:
    """Give `data` in pieces of these sizes, over and over; returns what was not needed."""
    at, turn = 0, 0
    while at < len(data) and handshake.session is None:
        size = sizes[turn % len(sizes)]
        handshake.receive(data[at : at + size])
        at, turn = at + size, turn + 1
    return data[at:]


def sessions() -> tuple[Session, Session]:
    dialer, listener = client(CLIENT), server(SERVER)
    exchange(dialer, listener)
    assert dialer.session is not None and listener.session is not None
    return dialer.session, listener.session


@settings(max_examples=40, deadline=None)
@given(cuts, cuts, cuts, st.binary(max_size=100))
def test_any_cut_of_a_handshake(
    hello: list[int], answer: list[int], last: list[int], data: bytes
) -> None:
    dialer, listener = client(CLIENT), server(SERVER)
    assert feed(listener, dialer.take_output(), hello) == b""
    assert feed(dialer, listener.take_output(), answer) == b""
    assert dialer.session is not None
    flight = dialer.take_output()
    out = bytearray(len(data) + 512)
    sealed = bytes(out[: dialer.session.records.seal(out, 0, [data])])
    rest = feed(listener, flight + sealed, last)
    assert listener.session is not None
    assert listener.session.received + rest == sealed
    got: list[bytes] = []
    view = memoryview(sealed)
    assert listener.session.records.open_all(view, 0, len(view), got.append) == len(view)
    assert b"".join(got) == data


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=40_000), min_size=1, max_size=4),
    st.lists(st.integers(1, 30_000), min_size=1, max_size=6),
)
def test_any_cut_of_records(plains: list[bytes], sizes: list[int]) -> None:
    one, other = sessions()
    out, end = bytearray(sum(map(len, plains)) + 512 * len(plains)), 0
    for plain in plains:
        end = one.records.seal(out, end, [plain[:5], plain[5:]])
    held, at, turn, got = b"", 0, 0, []
    while at < end:
        size = sizes[turn % len(sizes)]
        held += bytes(out[at : min(at + size, end)])
        at, turn = at + size, turn + 1
        view = memoryview(held)
        held = held[other.records.open_all(view, 0, len(view), got.append) :]
        assert len(held) <= 16384 + 256 + 5
    assert held == b""
    assert b"".join(got) == b"".join(plains)


def with_keys(role: Role) -> tuple[Sealer, TlsRecords]:
    """(what a peer can send, our records)"""
    suite = SUITES["TLS_CHACHA20_POLY1305_SHA256"]
    theirs = TrafficSecret(suite, bytes(32))
    return Sealer(theirs), TlsRecords(TrafficSecret(suite, b"o" * 32), theirs, role)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(list(Role)), st.lists(st.binary(max_size=40), min_size=1, max_size=6))
def test_garbage_of_a_peer_that_has_the_keys(role: Role, inners: list[bytes]) -> None:
    sealer, ours = with_keys(role)
    data = b"".join(map(sealer.inner, inners))
    got: list[bytes] = []
    try:
        ours.open_all(memoryview(data), 0, len(data), got.append)
    except ProtocolError as error:
        assert error.message and "\n" not in error.message
    assert len(b"".join(got)) <= sum(map(len, inners))
    ours.closing()


steps = st.lists(
    st.one_of(
        st.binary(max_size=50),  # data
        st.integers(0, 1),  # a key update, with or without a question
        st.tuples(st.integers(0, 60), st.integers(1, 63)),  # a ticket, cut in two
    ),
    min_size=1,
    max_size=20,
)


@settings(max_examples=100, deadline=None)
@given(steps, cuts)
def test_data_among_other_messages(
    todo: list[bytes | int | tuple[int, int]], sizes: list[int]
) -> None:
    sealer, ours = with_keys(Role.CLIENT)
    stream, plain = b"", b""
    for step in todo:
        if isinstance(step, bytes):
            stream, plain = stream + sealer.record(step), plain + step
        elif isinstance(step, int):
            stream += sealer.update(b"\x18\x00\x00\x01" + bytes((step,)))
        else:
            ticket = b"\x04\x00\x00" + bytes((step[0],)) + bytes(step[0])
            for part in (ticket[: step[1]], ticket[step[1] :]):
                stream += sealer.record(part, 22) if part else b""
    got: list[bytes] = []
    held, at, turn = b"", 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        held, at, turn = held + stream[at : at + size], at + size, turn + 1
        view = memoryview(held)
        held = held[ours.open_all(view, 0, len(view), got.append) :]
    assert held == b"" and b"".join(got) == plain


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=2000))
def test_garbage_instead_of_a_handshake(data: bytes) -> None:
    for handshake in (client(CLIENT), server(SERVER)):
        handshake.take_output()
        try:
            handshake.receive(data)
        except HandshakeError:
            handshake.take_output()
        assert handshake.session is None


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2), st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_changed_handshake(which: int, place: float, change: int) -> None:
    """Whatever is done to one flight, nobody believes in another peer."""
    dialer, listener = client(CLIENT), server(SERVER)
    for turn in range(4):
        sender, receiver = (dialer, listener) if turn % 2 == 0 else (listener, dialer)
        flight = bytearray(sender.take_output())
        if turn == which and flight:
            flight[int(place * len(flight))] ^= change
        if receiver.session is None:
            try:
                receiver.receive(bytes(flight))
            except HandshakeError:
                break
    if listener.session is not None:
        assert listener.session.peer_id == CLIENT._key.peer_id
    if dialer.session is not None:
        assert dialer.session.peer_id == SERVER._key.peer_id


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_garbage_instead_of_records(data: bytes, framed: bool) -> None:
    if framed:
        data = b"\x17\x03\x03" + len(data).to_bytes(2, "big") + data
    _, other = sessions()
    got: list[bytes] = []
    try:
        end = other.records.open_all(memoryview(data), 0, len(data), got.append)
        assert 0 <= end <= len(data)
    except ProtocolError:
        other.records.closing()
    assert got == []


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_signed_key_round_trip(public_key: bytes, signature: bytes) -> None:
    assert decode_signed_key(encode_signed_key(public_key, signature)) == (public_key, signature)


@given(st.one_of(st.binary(max_size=64), st.binary(max_size=64).map(lambda data: b"0" + data)))
def test_signed_key_has_one_form(data: bytes) -> None:
    try:
        members = decode_signed_key(data)
    except HandshakeError:
        return
    assert encode_signed_key(*members) == data


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=MAX_SIGNED_KEY + 10))
def test_any_extension(extension: bytes) -> None:
    made = craft(certificate_key=KEY, extension=extension)
    try:
        verify_certificate(made.der, now=now())
    except HandshakeError:
        return
    raise AssertionError("a certificate without a signature of its host was accepted")


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(MADE.der) - 1), st.binary(max_size=6), st.integers(0, 6))
def test_changed_certificate(at: int, put: bytes, taken: int) -> None:
    changed = MADE.der[:at] + put + MADE.der[at + taken :]
    good = verify_certificate(MADE.der, now=now())
    try:
        assert verify_certificate(changed, now=now()) == good
    except HandshakeError as error:
        assert error.message
