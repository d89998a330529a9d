"""Private networks: XSalsa20, the key file, and the protected socket."""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from pathlib import Path

import pytest

from carrick.errors import InvalidKey, KeyFileError
from carrick.interfaces import Endpoint
from carrick.transports.security.pnet import (
    PrivateNetwork,
    encode_swarm_key,
    load_swarm_key,
    parse_swarm_key,
)
from carrick.transports.security.pnet.xsalsa20 import hsalsa20, xsalsa20

# D. J. Bernstein, "Cryptography in NaCl" (2009), sections 5, 8 and 9: the chain of its example
SHARED = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
FIRST = bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
NONCE = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
SECOND = bytes.fromhex("dc908dda0b9344a953629b733820778880f3ceb421bb61b91cbd4c3e66256ce4")
STREAM = bytes.fromhex("eea6a7251c1e72916d11c2cb214d3c252539121d8e234e652d651fa4c8cff880")

PSK = bytes(range(32))


class Wire:
    """A byte socket whose capacity is given, call by call."""

    local: Endpoint = ("127.0.0.1", 1)
    remote: Endpoint = ("127.0.0.1", 2)

    def __init__(self) -> None:
        self.sent = bytearray()
        self.room: deque[int | None] = deque()  # empty: all the room that is wanted
        self.arriving: deque[bytes | None] = deque()
        self.closed = ""

    def send(self, data: memoryview) -> int | None:
        room = self.room.popleft() if self.room else len(data)
        if room is None:
            return None
        taken = data[:room]
        self.sent += taken
        return len(taken)

    def recv_into(self, buffer: memoryview) -> int | None:
        if not self.arriving:
            return None
        data = self.arriving.popleft()
        if data is None:
            return 0
        count = min(len(buffer), len(data))
        buffer[:count] = data[:count]
        if count < len(data):
            self.arriving.appendleft(data[count:])
        return count

    async def wait_readable(self) -> None:
        self.closed += "r"

    async def wait_writable(self) -> None:
        self.closed += "w"

    def close(self) -> None:
        self.closed += "c"

    def abort(self) -> None:
        self.closed += "a"


def network(psk: bytes = PSK, nonce: bytes = NONCE) -> PrivateNetwork:
    return PrivateNetwork(psk, random=lambda size: nonce[:size])


# --- XSalsa20 -----------------------------------------------------------------------------------


def test_hsalsa20_vectors() -> None:
    assert hsalsa20(SHARED, bytes(16)) == FIRST
    assert hsalsa20(FIRST, NONCE[:16]) == SECOND


def test_xsalsa20_vector() -> None:
    assert xsalsa20(FIRST, NONCE).encrypt(bytes(32)) == STREAM


def test_xsalsa20_long_vector() -> None:
    """NaCl's tests/stream.c: SHA-256 of the first 4 MiB of this key stream."""
    stream = xsalsa20(FIRST, NONCE).encrypt(bytes(4194304))
    assert hashlib.sha256(stream).hexdigest() == (
        "662b9d0e3463029156069b12f918691a98f7dfb2ca0393c96bbfc6b1fbd630a2"
    )


def test_xsalsa20_is_one_stream() -> None:
    whole = xsalsa20(FIRST, NONCE).encrypt(bytes(1000))
    cipher = xsalsa20(FIRST, NONCE)
    assert b"".join(cipher.encrypt(bytes(size)) for size in (1, 62, 2, 64, 871)) == whole


@pytest.mark.parametrize(("key", "nonce"), [(b"", NONCE), (PSK[:31], NONCE), (PSK, NONCE[:8])])
def test_xsalsa20_sizes(key: bytes, nonce: bytes) -> None:
    with pytest.raises(ValueError):
        xsalsa20(key, nonce)


# --- the socket ---------------------------------------------------------------------------------


def test_nonce_goes_first_and_then_the_stream() -> None:
    wire = Wire()
    socket = network(FIRST).wrap(wire)
    assert wire.sent == b""
    assert socket.send(memoryview(bytes(32))) == 32
    assert wire.sent == NONCE + STREAM
    assert socket.send(memoryview(b"more")) == 4
    assert wire.sent == NONCE + xsalsa20(FIRST, NONCE).encrypt(bytes(32) + b"more")


def test_every_socket_has_its_own_nonce() -> None:
    wires = Wire(), Wire()
    for wire in wires:
        PrivateNetwork(PSK).wrap(wire).send(memoryview(b"hello"))
    assert wires[0].sent[:24] != wires[1].sent[:24]


def test_partial_sends_never_encrypt_twice() -> None:
    wire = Wire()
    wire.room.extend([None, 10, None, 14, 3, None, 0 + 1, 100])
    socket = network(FIRST).wrap(wire)
    data = memoryview(bytes(range(256)))
    assert socket.send(data) is None  # full at once
    assert socket.send(data) is None  # ten bytes of the nonce
    assert socket.send(data) == 3  # the nonce's rest, and three
    assert socket.send(data[3:]) is None
    assert socket.send(data[3:]) == 1
    assert socket.send(data[4:]) == 100
    assert socket.send(data[104:]) == 152
    assert wire.sent == NONCE + xsalsa20(FIRST, NONCE).encrypt(bytes(range(256)))


def test_the_next_send_may_be_shorter_or_longer() -> None:
    wire = Wire()
    wire.room.extend([24 + 2])
    socket = network(FIRST).wrap(wire)
    assert socket.send(memoryview(b"abcdef")) == 2
    assert socket.send(memoryview(b"cd")) == 2
    assert socket.send(memoryview(b"efghij")) == 6
    assert wire.sent == NONCE + xsalsa20(FIRST, NONCE).encrypt(b"abcdefghij")


def test_large_send_is_taken_in_parts() -> None:
    wire = Wire()
    socket = network(FIRST).wrap(wire)
    data = memoryview(bytes(200_000))
    at = 0
    while at < len(data):
        count = socket.send(data[at:])
        assert count is not None and 0 < count <= 65536
        at += count
    assert wire.sent == NONCE + xsalsa20(FIRST, NONCE).encrypt(bytes(200_000))


@pytest.mark.parametrize("cut", [1, 5, 23, 24, 25, 30])
def test_receive(cut: int) -> None:
    wire = Wire()
    sealed = NONCE + xsalsa20(FIRST, NONCE).encrypt(b"hello, world")
    wire.arriving.extend([sealed[:cut], sealed[cut:]])
    socket = network(FIRST).wrap(wire)
    buffer, got = bytearray(5), b""
    while count := socket.recv_into(memoryview(buffer)):
        got += buffer[:count]
    assert got == b"hello, world"
    assert count is None
    wire.arriving.append(None)
    assert socket.recv_into(memoryview(buffer)) == 0


def test_end_of_file_within_the_nonce() -> None:
    wire = Wire()
    wire.arriving.extend([NONCE[:10], None])
    assert network().wrap(wire).recv_into(memoryview(bytearray(10))) == 0


def test_another_key_gives_rubbish() -> None:
    wire = Wire()
    network(PSK).wrap(wire).send(memoryview(b"/multistream/1.0.0\n"))
    other = Wire()
    other.arriving.append(bytes(wire.sent))
    buffer = bytearray(100)
    count = network(bytes(32)).wrap(other).recv_into(memoryview(buffer))
    assert count == 19
    assert b"multistream" not in buffer and b"multistream" not in wire.sent


async def test_the_rest_is_passed_on() -> None:
    wire = Wire()
    socket = network().wrap(wire)
    assert (socket.local, socket.remote) == (wire.local, wire.remote)
    await socket.wait_readable()
    await socket.wait_writable()
    socket.close()
    socket.abort()
    assert wire.closed == "rwca"


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_key_of_another_length(size: int) -> None:
    with pytest.raises(InvalidKey):
        PrivateNetwork(bytes(size))


# --- the key file -------------------------------------------------------------------------------

HEAD = b"/key/swarm/psk/1.0.0/\n"


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"/base16/\n" + PSK.hex().encode(),
        HEAD + b"/base16/\n" + PSK.hex().upper().encode() + b"\n",
        HEAD.replace(b"\n", b"\r\n") + b"/base16/\r\n" + PSK.hex().encode() + b"\r\n",
        HEAD + b"/base64/\n" + base64.b64encode(PSK),
        HEAD + b"/base64/\n" + base64.b64encode(PSK) + b"\n",
        HEAD + b"/bin/\n" + PSK,
        HEAD + b"/bin/\n" + PSK + b"\n",
    ],
)
def test_key_file(data: bytes, tmp_path: Path) -> None:
    assert parse_swarm_key(data) == PSK
    (tmp_path / "swarm.key").write_bytes(data)
    assert load_swarm_key(tmp_path / "swarm.key") == PSK


def test_binary_key_may_end_like_a_line() -> None:
    key = PSK[:30] + b"\r\n"
    assert parse_swarm_key(HEAD + b"/bin/\n" + key) == key
    assert parse_swarm_key(HEAD + b"/bin/\n" + key + b"\n") == key


def test_encode() -> None:
    assert parse_swarm_key(encode_swarm_key(PSK)) == PSK


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "begins with"),
        (b"/key/swarm/psk/2.0.0/\n/base16/\n" + PSK.hex().encode(), "begins with"),
        (HEAD, "encoding"),
        (HEAD + b"/base32/\n" + PSK.hex().encode(), "encoding"),
        (HEAD + b"/base16/\n", "0"),
        (HEAD + b"/base16/\n" + PSK.hex().encode()[:-2], "31"),
        (HEAD + b"/base16/\n" + PSK.hex().encode() + b"00", "33"),
        (HEAD + b"/base16/\n" + b"zz" * 32, "base16"),
        (HEAD + b"/base64/\n" + b"!" * 44, "base64"),
        (HEAD + b"/base64/\n" + base64.b64encode(PSK[:-1]), "31"),
        (HEAD + b"/bin/\n" + PSK[:-1], "31"),
        (HEAD + b"/bin/\n" + PSK + b"x", "33"),
    ],
)
def test_wrong_key_file(data: bytes, message: str) -> None:
    with pytest.raises(KeyFileError, match=message) as caught:
        parse_swarm_key(data)
    assert PSK.hex()[:16] not in str(caught.value)


def test_key_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot read"):
        load_swarm_key(tmp_path / "none")
    (tmp_path / "long").write_bytes(encode_swarm_key(PSK) + bytes(5000))
    with pytest.raises(KeyFileError, match="too long"):
        load_swarm_key(tmp_path / "long")
    (tmp_path / "bad").write_bytes(b"hello")
    with pytest.raises(KeyFileError, match="bad: a swarm key begins"):
        load_swarm_key(tmp_path / "bad")
