"""The metrics page's part of HTTP, and its addresses."""

from __future__ import annotations

import http
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.errors import InvalidAddress
from carrick.host.metrics import parse_endpoint
from carrick.host.metrics.request import MAX_HEAD, BadRequest, RequestReader

GET = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"


def outcome(*pieces: bytes) -> str | int | None:
    reader = RequestReader("/metrics")
    found: str | int | None = None
    try:
        for piece in pieces:
            found = reader.feed(piece)
            if found is not None:
                return found
    except BadRequest as refusal:
        return refusal.status.value
    return found


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (GET, "GET"),
        (GET.replace(b"GET", b"HEAD"), "HEAD"),
        (b"GET /metrics?name=up HTTP/1.0\r\n\r\n", "GET"),
        (GET + b"and what follows", "GET"),
        (GET[:-1], None),
        (GET.replace(b"metrics", b""), 404),
        (GET.replace(b"metrics", b"metrics2"), 404),
        (GET.replace(b"GET", b"POST"), 405),
        (GET.replace(b"GET", b"get"), 400),
        (GET.replace(b"HTTP/1.1", b"HTTP/2.0"), 400),
        (GET.replace(b"/metrics ", b"/metrics  "), 400),
        (GET.replace(b"/metrics", b"http://localhost/metrics"), 400),
        (GET.replace(b"/metrics", b"/m\xc3\xa9trics"), 400),
        (b"PRI * HTTP/2.0\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00" * 2000, 400),
        (GET[:-2] + b"X: " + b"x" * MAX_HEAD, 400),
    ],
)
def test_requests(request_: bytes, expected: str | int | None) -> None:
    assert outcome(request_) == expected
    assert outcome(*(bytes((each,)) for each in request_)) == expected


def test_the_longest_head() -> None:
    fill = MAX_HEAD - len(GET) - len(b"X: \r\n")
    longest = GET[:-2] + b"X: " + b"x" * fill + b"\r\n\r\n"
    assert len(longest) == MAX_HEAD
    assert outcome(longest) == "GET"
    assert outcome(longest.replace(b"X: ", b"X: x")) == 400


@given(st.lists(st.binary(max_size=3000), max_size=10))
def test_any_bytes(pieces: list[bytes]) -> None:
    reader = RequestReader("/metrics")
    with suppress(BadRequest):
        for piece in pieces:
            reader.feed(piece)
            assert len(reader._head) <= MAX_HEAD


def test_a_refusal_says_why() -> None:
    with pytest.raises(BadRequest, match="Not Found") as info:
        RequestReader("/metrics").feed(b"GET / HTTP/1.1\r\n\r\n")
    assert info.value.status is http.HTTPStatus.NOT_FOUND


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9090", ("127.0.0.1", 9090)),
        (":9090", ("127.0.0.1", 9090)),
        ("localhost:0", ("127.0.0.1", 0)),
        ("0.0.0.0:65535", ("0.0.0.0", 65535)),
        ("[::1]:9090", ("::1", 9090)),
        ("[::]:9090", ("::", 9090)),
        ("/ip4/192.0.2.1/tcp/9090", ("192.0.2.1", 9090)),
        ("/ip6/::1/tcp/9090", ("::1", 9090)),
    ],
)
def test_endpoints(text: str, expected: tuple[str, int]) -> None:
    assert parse_endpoint(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "localhost",
        "localhost:",
        "65536",
        "-1",
        "+9090",
        "٣",
        "metrics.example:9090",
        "::1:9090",
        "[127.0.0.1]:9090",
        "[::1]",
        "127.0.0.1:http",
        "/ip4/127.0.0.1/udp/9090",
        "/ip4/127.0.0.1/tcp/9090/ws",
        "/dns/localhost/tcp/9090",
        "/nonsense",
    ],
)
def test_wrong_endpoints(text: str) -> None:
    with pytest.raises(InvalidAddress):
        parse_endpoint(text)
