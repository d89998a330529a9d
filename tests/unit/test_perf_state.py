"""Which dialect of perf a client speaks, and what it is owed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.errors import ProtocolError
from carrick.protocols.perf.state import MAX_BYTES, Dialect, Server, request


def serve(data: bytes, *, cut: int = 1 << 20, silent: bool = False, end: bool = True) -> Server:
    server = Server()
    for at in range(0, len(data), cut):
        server.receive(memoryview(data)[at : at + cut])
    if silent:
        server.silence()
    if end:
        server.end()
    return server


def test_requests() -> None:
    assert request(Dialect.SPEC, upload=5, download=258) == bytes(6) + b"\x01\x02"
    assert request(Dialect.UT16, upload=1, download=2) == bytes(7) + b"\x01" + bytes(7) + b"\x02"
    for wrong in (-1, MAX_BYTES + 1):
        with pytest.raises(ValueError, match="counts"):
            request(Dialect.SPEC, upload=0, download=wrong)


@pytest.mark.parametrize("cut", [1, 7, 8, 15, 16, 17, 1 << 20])
@pytest.mark.parametrize(
    ("upload", "download"), [(0, 0), (0, 1), (0, 1 << 30), (1, 0), (7, 3), (8, 0), (5000, 0)]
)
def test_clients_of_the_specification(upload: int, download: int, cut: int) -> None:
    data = request(Dialect.SPEC, upload=upload, download=download) + bytes(upload)
    assert serve(data, cut=cut, end=False).reply is None  # never before the upload has ended
    server = serve(data, cut=cut)
    assert (server.dialect, server.reply, server.received) == (Dialect.SPEC, download, 8 + upload)


@pytest.mark.parametrize("cut", [1, 16, 1 << 20])
@pytest.mark.parametrize(("upload", "download"), [(1, 0), (4096, 0), (100, 7)])
def test_the_reference_uploads_without_an_end(upload: int, download: int, cut: int) -> None:
    data = request(Dialect.UT16, upload=upload, download=download) + bytes(upload)
    assert serve(data[:-1], cut=cut, end=False).reply is None
    server = serve(data, cut=cut, end=False)
    assert (server.dialect, server.reply) == (Dialect.UT16, download)


@pytest.mark.parametrize("how", [{"silent": True, "end": False}, {"end": True}])
def test_the_reference_downloads_when_nothing_follows(how: dict[str, bool]) -> None:
    head = request(Dialect.UT16, upload=0, download=1 << 20)
    assert serve(head, end=False).undecided
    server = serve(head, **how)
    assert (server.dialect, server.reply) == (Dialect.UT16, 1 << 20)


def test_bytes_behind_a_zero_are_an_upload() -> None:
    """Not zeros, so that its first bytes look like a count."""
    server = serve(bytes(8) + b"\x01" * 8, end=False)
    assert server.undecided
    server.receive(memoryview(b"\x01"))
    server.silence()
    server.end()
    assert (server.dialect, server.reply) == (Dialect.SPEC, 0)


def test_both_ways_on_one_stream_is_told_by_an_early_end() -> None:
    data = request(Dialect.SPEC, upload=100, download=5000) + bytes(100)
    assert serve(data).reply == 5000


def test_an_end_before_the_first_number_is_an_error() -> None:
    for size in range(8):
        with pytest.raises(ProtocolError):
            serve(bytes(size))


def test_counts_are_clamped() -> None:
    assert serve(b"\xff" * 8).reply == MAX_BYTES
    assert serve(b"\xff" * 16).reply == MAX_BYTES


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=64), st.lists(st.integers(1, 20), max_size=8), st.booleans())
def test_any_input_ends_in_a_bounded_reply(data: bytes, cuts: list[int], silent: bool) -> None:
    server = Server()
    rest = memoryview(data)
    for cut in [*cuts, len(data)]:
        server.receive(rest[:cut])
        rest = rest[cut:]
    if silent:
        server.silence()
    try:
        server.end()
    except ProtocolError:
        assert len(data) < 8
    else:
        assert server.reply is not None and 0 <= server.reply <= MAX_BYTES
