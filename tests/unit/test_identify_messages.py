"""Identify messages: what is sent fits its bounds, what is received is held to them."""

from __future__ import annotations

from typing import Any

import pytest

from carrick.addressing import parse_address
from carrick.errors import ProtocolError
from carrick.identity import PrivateKey
from carrick.protocols.identify.messages import (
    MAX_ADDRESSES,
    MAX_MESSAGES,
    MAX_PROTOCOLS,
    MAX_SENT_MESSAGE,
    MAX_SENT_MESSAGES,
    MAX_VERSION,
    Info,
    MessageReader,
    encode_messages,
)
from carrick.protocols.identify.pb.identify_pb2 import Identify as Message

KEY = PrivateKey.generate()
ADDRESS = parse_address("/ip4/192.0.2.7/tcp/4001")
FULL = Info(
    public_key=KEY.public_key,
    protocol_version="ipfs/0.1.0",
    agent_version="carrick/1.2.3",
    protocols=("/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"),
    listen_addresses=(ADDRESS, parse_address("/ip6/2001:db8::1/udp/4001/quic-v1")),
    observed_address=parse_address("/ip4/198.51.100.3/tcp/50000"),
    signed_record=b"sealed",
)


def read(*payloads: bytes) -> Info:
    reader = MessageReader()
    for payload in payloads:
        reader.receive(payload)
    return reader.finish()


def message(**fields: Any) -> bytes:
    return Message(**fields).SerializeToString()


def test_round_trip_in_one_message() -> None:
    encoded = encode_messages(FULL)
    assert len(encoded) == 1
    assert read(*encoded) == FULL


def test_wire_format() -> None:
    """The field numbers and types of the specification, by hand."""
    info = Info(
        protocol_version="v",
        agent_version="a",
        protocols=("/p",),
        listen_addresses=(ADDRESS,),
        observed_address=ADDRESS,
        signed_record=b"r",
    )
    address = bytes.fromhex("04c000020706 0fa1")
    expected = (
        b"\x12\x08"
        + address
        + b"\x1a\x02/p"
        + b"\x22\x08"
        + address
        + b"\x2a\x01v\x32\x01a\x42\x01r"
    )
    assert encode_messages(info) == [expected]


def test_nothing_said_is_an_empty_message() -> None:
    assert encode_messages(Info()) == [b""]
    assert read(b"") == Info()


def test_many_protocols_are_sent_in_chunks() -> None:
    protocols = tuple(f"/protocol/{number:04}/1.0.0" for number in range(600))
    info = Info(agent_version="a", protocols=protocols, signed_record=b"r" * 500)
    encoded = encode_messages(info)
    assert 1 < len(encoded) <= MAX_SENT_MESSAGES
    assert all(len(payload) <= MAX_SENT_MESSAGE for payload in encoded)
    assert read(*encoded) == info


def test_the_record_comes_alone_and_last_when_it_does_not_fit() -> None:
    """go reads it wherever it is; those that read one message need the rest of that one whole."""
    info = Info(agent_version="a" * 200, protocols=FULL.protocols, signed_record=b"r" * 4000)
    first, second = encode_messages(info)
    assert Message.FromString(first).protocols == [b"/ipfs/id/1.0.0", b"/ipfs/ping/1.0.0"]
    assert Message.FromString(second) == Message(signed_peer_record=b"r" * 4000)


def test_no_more_messages_are_sent_than_go_reads() -> None:
    protocols = tuple(f"/{'x' * 1000}/{number}" for number in range(100))
    encoded = encode_messages(Info(protocols=protocols, signed_record=b"r" * 4000))
    assert len(encoded) == MAX_SENT_MESSAGES
    assert read(*encoded).protocols == protocols[: 4 * (MAX_SENT_MESSAGES - 1)]
    assert read(*encoded).signed_record == b"r" * 4000


def test_what_fits_nowhere_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        encode_messages(Info(signed_record=b"r" * 5000))
    with pytest.raises(ValueError, match="limit is 256"):
        encode_messages(Info(agent_version="a" * 257))


def test_later_messages_replace_and_add() -> None:
    info = read(
        message(agent_version=b"one", protocols=[b"/a"], signed_peer_record=b"1"),
        message(agent_version=b"two", protocols=[b"/b", b"/a"]),
    )
    assert info == Info(agent_version="two", protocols=("/a", "/b"), signed_record=b"1")


def test_the_number_of_messages_is_bounded() -> None:
    parts = [message(protocols=[b"/%d" % number]) for number in range(MAX_MESSAGES)]
    assert len(read(*parts).protocols) == MAX_MESSAGES
    with pytest.raises(ProtocolError, match="messages"):
        read(*parts, b"")


@pytest.mark.parametrize(
    ("field", "value", "limit"),
    [
        ("protocols", b"/p", MAX_PROTOCOLS),
        ("listen_addresses", ADDRESS.to_bytes(), MAX_ADDRESSES),
    ],
)
def test_lists_are_bounded_over_all_messages(field: str, value: bytes, limit: int) -> None:
    half = message(**{field: [value] * (limit // 2)})
    read(half, half)
    with pytest.raises(ProtocolError, match=str(limit)):
        read(half, half, message(**{field: [value]}))


@pytest.mark.parametrize("field", ["agent_version", "protocol_version"])
def test_versions_are_bounded(field: str) -> None:
    assert len(getattr(read(message(**{field: b"a" * MAX_VERSION})), field)) == MAX_VERSION
    with pytest.raises(ProtocolError, match="256"):
        read(message(**{field: b"a" * (MAX_VERSION + 1)}))


def test_bad_texts_cost_only_themselves() -> None:
    info = read(
        message(
            protocols=[b"/good", b"\xff\xfe", b"", b"/new\nline", b"/" + b"x" * 2000, b"/also"],
            agent_version=b"evil\x1b[2J\xff",
            protocol_version=b"\xc3\xa9t\xc3\xa9",
        )
    )
    assert info.protocols == ("/good", "/also")
    assert info.agent_version == "evil?[2J?"
    assert info.protocol_version == "été"


def test_bad_addresses_cost_only_themselves() -> None:
    good = ADDRESS.to_bytes()
    info = read(message(listen_addresses=[b"", b"\xff" * 9, good, good[:-1], good]))
    assert info.listen_addresses == (ADDRESS,)
    assert read(message(observed_address=b"\x04\x01")).observed_address is None


def test_a_stream_without_a_message_is_no_answer() -> None:
    with pytest.raises(ProtocolError, match="without"):
        MessageReader().finish()


@pytest.mark.parametrize("payload", [b"\x0a", b"\x0a\xff\xff\xff\xff\x0f", b"\xff" * 12])
def test_malformed_messages_are_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError, match="malformed"):
        read(payload)


def test_a_bad_public_key_is_refused() -> None:
    with pytest.raises(ProtocolError, match="public key"):
        read(message(public_key=b"\x08\x01\x12\x02ab"))
