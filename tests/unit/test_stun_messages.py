"""STUN messages: the vectors of RFC 5769, and what is refused."""

from __future__ import annotations

import struct

import pytest

from carrick.errors import MessageTooLarge, ProtocolError
from carrick.protocols.stun import MAX_MESSAGE, Kind, Message, decode, encode, size_of

TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
VECTOR_REQUEST = bytes.fromhex(  # RFC 5769 section 2.1
    "00010058 2112a442 b7e7a701bc34d686fa87dfae"
    "80220010 5354554e207465737420636c69656e74"
    "00240004 6e0001ff"
    "80290008 932ff9b151263b36"
    "00060009 6576746a3a68367659202020"
    "00080014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "80280004 e57a3bcf"
)
VECTOR_IP4 = bytes.fromhex(  # section 2.2
    "0101003c 2112a442 b7e7a701bc34d686fa87dfae"
    "8022000b 7465737420766563746f7220"
    "00200008 0001a147e112a643"
    "00080014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7"
    "80280004 c07d4c96"
)
VECTOR_IP6 = bytes.fromhex(  # section 2.3
    "01010048 2112a442 b7e7a701bc34d686fa87dfae"
    "8022000b 7465737420766563746f7220"
    "00200014 0002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014 a382954e4be67bf11784c97c8292c275bfe3ed41"
    "80280004 c8fb0b4c"
)
VECTOR_LONG_TERM = bytes.fromhex(  # section 2.4
    "00010060 2112a442 78ad3433c6ad72c029da412e"
    "00060012 e3839ee38388e383aae38383e382afe382b90000"
    "0015001c 662f2f3439396b39353464364f4c33346f4c394653547679363473 41"
    "0014000b 6578616d706c652e6f726700"
    "00080014 f67024656dd64a3e02b8e0712e85c9a28ca89666"
)


def test_the_sample_request() -> None:
    message = decode(VECTOR_REQUEST)
    assert (message.kind, message.transaction) == (Kind.REQUEST, TRANSACTION)
    assert message.software == "STUN test client"
    assert message.unknown == (0x0024,)  # PRIORITY is of ICE


@pytest.mark.parametrize(
    ("vector", "mapped"),
    [
        (VECTOR_IP4, ("192.0.2.1", 32853)),
        (VECTOR_IP6, ("2001:db8:1234:5678:11:2233:4455:6677", 32853)),
    ],
)
def test_the_sample_answers(vector: bytes, mapped: tuple[str, int]) -> None:
    message = decode(vector)
    assert (message.kind, message.mapped, message.software) == (
        Kind.SUCCESS,
        mapped,
        "test vector",
    )
    assert message.unknown == ()


def test_the_sample_request_with_credentials() -> None:
    assert decode(VECTOR_LONG_TERM) == Message(
        Kind.REQUEST, bytes.fromhex("78ad3433c6ad72c029da412e")
    )


FULL = Message(
    Kind.SUCCESS,
    TRANSACTION,
    mapped=("11.0.113.11", 4001),
    origin=("2a00::1", 3478),
    other=("11.0.113.3", 3479),
    change_ip=True,
    change_port=True,
    software="x",
)


@pytest.mark.parametrize("fingerprint", [True, False])
@pytest.mark.parametrize("xor", [True, False])
def test_what_is_written_is_read(fingerprint: bool, xor: bool) -> None:
    assert decode(encode(FULL, fingerprint=fingerprint, xor=xor)) == FULL


def test_change_request_flags() -> None:
    for change_ip, change_port, flags in ((True, False, 4), (False, True, 2), (True, True, 6)):
        data = encode(
            Message(Kind.REQUEST, TRANSACTION, change_ip=change_ip, change_port=change_port)
        )
        assert data[20:] == struct.pack("!HHI", 0x0003, 4, flags)


def test_the_xored_address_counts() -> None:
    """A router may rewrite the address that it finds in the payload."""
    plain = attribute(0x0001, b"\0\1" + struct.pack("!H", 9) + bytes((192, 168, 0, 1)))
    xored = encode(Message(Kind.SUCCESS, TRANSACTION, mapped=("11.0.0.1", 4001)))[20:]
    assert decode(built(plain + xored)).mapped == ("11.0.0.1", 4001)


def test_errors_have_a_code_and_a_reason() -> None:
    message = Message(Kind.ERROR, TRANSACTION, error=(420, "Unknown Attribute"))
    assert decode(encode(message)).error == (420, "Unknown Attribute")


def test_only_a_fingerprint_counts_after_the_integrity() -> None:
    forged = attribute(0x0020, b"\0\1" + bytes(6))
    body = attribute(0x0008, bytes(20)) + forged
    assert decode(built(body)).mapped is None


def test_the_first_of_two_attributes_counts() -> None:
    assert decode(built(attribute(0x8022, b"one") + attribute(0x8022, b"two"))).software == "one"


def test_attributes_that_need_not_be_understood_are_skipped() -> None:
    assert decode(built(attribute(0x80FF, b"???"))).unknown == ()
    assert decode(built(attribute(0x00FF, b"???"))).unknown == (0x00FF,)


def attribute(type: int, value: bytes) -> bytes:
    return struct.pack("!HH", type, len(value)) + value + bytes(-len(value) % 4)


def built(body: bytes, bits: int = 0x0101) -> bytes:
    return struct.pack("!HHI", bits, len(body), 0x2112A442) + TRANSACTION + body


@pytest.mark.parametrize(
    "data",
    {
        "empty": b"",
        "short": VECTOR_IP4[:19],
        "cut": VECTOR_IP4[:-4],
        "longer": VECTOR_IP4 + bytes(4),
        "first bits": b"\x81" + VECTOR_IP4[1:],
        "cookie": VECTOR_IP4[:4] + bytes(4) + VECTOR_IP4[8:],
        "length not of four": built(b"abc"),
        "method": built(b"", 0x0003),
        "fingerprint": VECTOR_IP4[:-1] + b"\0",
        "after the fingerprint": built(
            encode(FULL, fingerprint=True)[20:] + attribute(0x8022, b"")
        ),
        "attribute too long": built(struct.pack("!HH", 0x8022, 9) + bytes(4)),
        "family": built(attribute(0x0020, b"\0\3" + bytes(6))),
        "address cut": built(attribute(0x0020, b"\0\1\0\1")),
        "port 0": built(attribute(0x0001, b"\0\1\0\0" + bytes(4))),
        "change request": built(attribute(0x0003, b"\0\0")),
        "error code": built(attribute(0x0009, b"\0\0\2\0")),
        "error without code": built(b"", 0x0111),
    }.items(),
    ids=lambda each: each[0],
)
def test_what_is_refused(data: tuple[str, bytes]) -> None:
    with pytest.raises(ProtocolError):
        decode(data[1])


def test_the_size_is_looked_at_first() -> None:
    assert size_of(VECTOR_IP4[:20]) == len(VECTOR_IP4)
    with pytest.raises(MessageTooLarge):
        size_of(struct.pack("!HHI", 1, MAX_MESSAGE, 0x2112A442) + TRANSACTION)
