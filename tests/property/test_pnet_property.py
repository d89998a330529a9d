"""Private networks: any sizes of sends and receives give the same stream; any file is judged."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.errors import KeyFileError
from carrick.interfaces import Endpoint
from carrick.transports.security.pnet import PrivateNetwork, encode_swarm_key, parse_swarm_key

PSK = bytes(range(32))


class Pipe:
    """A byte socket that takes and gives as much as drawn; what is sent comes back."""

    local: Endpoint = ("127.0.0.1", 1)
    remote: Endpoint = ("127.0.0.1", 2)

    def __init__(self, rooms: list[int]) -> None:
        self.send_rooms = itertools.cycle(rooms)
        self.receive_rooms = itertools.cycle(rooms)
        self.held = b""

    def send(self, data: memoryview) -> int | None:
        taken = bytes(data[: next(self.send_rooms)])
        self.held += taken
        return len(taken) or None

    def recv_into(self, buffer: memoryview) -> int | None:
        count = min(next(self.receive_rooms), len(buffer), len(self.held))
        buffer[:count] = self.held[:count]
        self.held = self.held[count:]
        return count or None

    async def wait_readable(self) -> None: ...
    async def wait_writable(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


rooms = st.lists(st.integers(0, 40), min_size=1, max_size=10).filter(any)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=400), rooms, st.lists(st.integers(1, 90), min_size=1))
def test_any_sizes(data: bytes, capacities: list[int], offers: list[int]) -> None:
    pipe = Pipe(capacities)
    network = PrivateNetwork(PSK, random=lambda size: b"\7" * size)
    socket = network.wrap(pipe)
    at, turn, got, buffer = 0, 0, b"", bytearray(64)
    while len(got) < len(data):
        if at < len(data):
            size = offers[turn % len(offers)]
            at += socket.send(memoryview(data)[at : at + size]) or 0
        got += buffer[: socket.recv_into(memoryview(buffer)) or 0]
        turn += 1
        assert turn < 5000
    assert got == data


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=80).map(lambda b: b"/base64/\n" + b)))
def test_any_key_file(data: bytes) -> None:
    for candidate in (data, b"/key/swarm/psk/1.0.0/\n" + data):
        try:
            assert len(parse_swarm_key(candidate)) == 32
        except KeyFileError as error:
            assert error.message


@given(st.binary(min_size=32, max_size=32))
def test_key_file_round_trip(key: bytes) -> None:
    assert parse_swarm_key(encode_swarm_key(key)) == key
    assert parse_swarm_key(b"/key/swarm/psk/1.0.0/\n/bin/\n" + key) == key
