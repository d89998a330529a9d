"""multistream-select, message by message."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from carrick.errors import NegotiationError, ProtocolNotSupported
from carrick.transports.multistream import (
    HEADER,
    MAX_LISTS,
    MAX_MESSAGE,
    MAX_PROPOSALS,
    Dialer,
    Listener,
    check_protocol,
    encode_message,
)
from carrick.wire import FrameReader, encode_frame

NA = bytes.fromhex("036e610a")  # the specification's example
LS = bytes.fromhex("036c730a")


def listener(*protocols: str, max_proposals: int = MAX_PROPOSALS) -> Listener:
    return Listener(set(protocols).__contains__, protocols, max_proposals=max_proposals)


def nothing(_: str) -> bool:
    return False


# --- messages -----------------------------------------------------------------------------------


def test_encoding() -> None:
    assert encode_message("na") == NA
    assert encode_message("ls") == LS
    assert HEADER == b"\x13/multistream/1.0.0\n"
    assert encode_message("/" + "é" * 100) == b"\xca\x01/" + "é".encode() * 100 + b"\n"


def test_a_name_of_1023_bytes_is_the_longest() -> None:
    name = "/" + "x" * (MAX_MESSAGE - 2)
    dialer, other = Dialer([name]), listener(name)
    other.receive(dialer.take_output())
    dialer.receive(other.take_output())
    assert dialer.selected == other.selected == name
    for long in (name + "x", "/" + "é" * 512):
        with pytest.raises(ValueError, match="at most 1023"):
            encode_message(long)
        with pytest.raises(ValueError, match="at most 1023"):
            Dialer(["/fine", long])


@pytest.mark.parametrize("name", ["", "na", "ls", "/multistream/1.0.0", "/a\n", "/\ud800"])
def test_names_that_cannot_be_negotiated(name: str) -> None:
    with pytest.raises(ValueError):
        check_protocol(name)
    with pytest.raises(ValueError):
        Dialer(["/fine", name])


def test_dialer_needs_protocols() -> None:
    with pytest.raises(ValueError, match="no protocols"):
        Dialer([])
    with pytest.raises(ValueError, match="exactly one"):
        Dialer(["/a", "/b"], lazy=True)


# --- the dialer ---------------------------------------------------------------------------------


def test_dialer_sends_header_and_proposal_together() -> None:
    dialer = Dialer(["/ipfs/kad/1.0.0", "/ipfs/kad/0.2.3"])
    assert dialer.take_output() == HEADER + b"\x10/ipfs/kad/1.0.0\n"
    assert dialer.take_output() == b""
    dialer.receive(HEADER + b"\x10/ipfs/kad/1.0.0\n" + b"traffic")
    assert (dialer.selected, dialer.rest) == ("/ipfs/kad/1.0.0", b"traffic")
    dialer.receive(b", more")
    assert dialer.rest == b"traffic, more"


def test_dialer_falls_back_on_na() -> None:
    dialer = Dialer(["/ipfs/kad/1.0.0", "/ipfs/kad/0.2.3"])
    dialer.take_output()
    dialer.receive(HEADER + NA)
    assert dialer.selected is None
    assert dialer.take_output() == b"\x10/ipfs/kad/0.2.3\n"
    dialer.receive(b"\x10/ipfs/kad/0.2.3\n")
    assert dialer.selected == "/ipfs/kad/0.2.3"


def test_go_listener_sends_header_and_answer_apart() -> None:
    dialer = Dialer(["/yamux/1.0.0"])
    dialer.receive(HEADER)
    assert not dialer.selected
    dialer.receive(b"\x0d/yamux/1.0.0\n")
    assert (dialer.selected, dialer.rest) == ("/yamux/1.0.0", b"")


def test_all_refused() -> None:
    dialer = Dialer(["/a", "/b"])
    with pytest.raises(ProtocolNotSupported, match="none of: /a, /b"):
        dialer.receive(HEADER + NA + NA)
    with pytest.raises(NegotiationError):
        dialer.receive(b"\x03/b\n")
    assert dialer.selected is None


def test_lazy_dialer_checks_the_answer_when_it_comes() -> None:
    dialer, other = Dialer(["/a"], lazy=True), listener("/a")
    other.receive(dialer.take_output() + b"request")
    assert (other.selected, other.rest) == ("/a", b"request")
    dialer.receive(other.take_output() + b"reply")
    assert (dialer.selected, dialer.rest) == ("/a", b"reply")

    refused = Dialer(["/a"], lazy=True)
    with pytest.raises(ProtocolNotSupported):
        refused.receive(HEADER + NA)


def test_answer_before_the_proposal_was_sent() -> None:
    """A peer that speaks one protocol may answer without waiting for the proposal."""
    dialer = Dialer(["/a"])
    dialer.receive(HEADER + b"\x03/a\nbytes")
    assert (dialer.selected, dialer.rest) == ("/a", b"bytes")
    assert dialer.take_output() == HEADER + b"\x03/a\n"  # still due


@pytest.mark.parametrize("answer", [b"\x03/b\n", LS, HEADER, b"\x01\n", b"\x04/a\n\n"])
def test_answer_to_something_else(answer: bytes) -> None:
    dialer = Dialer(["/a"])
    with pytest.raises(NegotiationError, match="proposed /a"):
        dialer.receive(HEADER + answer)


def test_answer_whose_end_looks_like_the_expected_one() -> None:
    dialer = Dialer(["/a"])
    dialer.receive(HEADER + b"\x08/b/")
    with pytest.raises(NegotiationError, match="proposed /a"):
        dialer.receive(b"\x03/a\n\n")


# --- the listener -------------------------------------------------------------------------------


def test_listener_answers_header_and_proposal_together() -> None:
    side = listener("/a")
    side.receive(HEADER + b"\x03/a\nrequest")
    assert side.take_output() == HEADER + b"\x03/a\n"
    assert (side.selected, side.rest) == ("/a", b"request")


def test_listener_answers_a_header_alone() -> None:
    """Some dialers wait for our header before they propose."""
    side = listener("/a")
    side.receive(HEADER)
    assert side.take_output() == HEADER
    side.receive(b"\x03/b\n")
    assert side.take_output() == NA
    side.receive(b"\x03/a\n")
    assert side.take_output() == b"\x03/a\n"
    assert side.selected == "/a"


def test_listener_refuses_simultaneous_connect() -> None:
    """The deprecated simultaneous-open extension gets the answer of who does not know it."""
    side = listener("/noise")
    side.receive(HEADER + encode_message("/libp2p/simultaneous-connect") + b"\x07/noise\n")
    assert side.take_output() == HEADER + NA + b"\x07/noise\n"
    assert side.selected == "/noise"


def test_is_supported_may_match_as_it_likes() -> None:
    side = Listener(lambda name: name.startswith("/chat/"))
    side.receive(HEADER + encode_message("/chat/7.1"))
    assert side.selected == "/chat/7.1"


def test_ls() -> None:
    side = listener("/a", "/ipfs/kad/1.0.0")
    side.receive(HEADER + LS + b"\x03/a\n")
    body = b"\x03/a\n" + b"\x10/ipfs/kad/1.0.0\n" + b"\n"
    assert side.take_output() == HEADER + encode_frame(body) + b"\x03/a\n"
    empty = Listener(nothing)
    empty.receive(HEADER + LS)
    assert empty.take_output() == HEADER + b"\x01\n"


def test_ls_stays_within_the_message_limit() -> None:
    names = [f"/protocol/{number}/1.0.0" for number in range(200)]
    side = Listener(nothing, ["/" + "x" * 2000, "na", *names])
    side.receive(HEADER + LS)
    reader = FrameReader(MAX_MESSAGE)
    reader.feed(side.take_output()[len(HEADER) :])
    answer = reader.next()
    assert answer is not None and reader.rest() == b""
    assert MAX_MESSAGE - 30 < len(answer) <= MAX_MESSAGE
    inner = FrameReader(MAX_MESSAGE)
    inner.feed(answer[:-1])
    listed = []
    while (name := inner.next()) is not None:
        listed.append(name[:-1].decode())
    assert listed == names[: len(listed)]


def test_ls_without_end() -> None:
    side = listener("/a")
    side.receive(HEADER + LS * MAX_LISTS)
    with pytest.raises(NegotiationError, match="list"):
        side.receive(LS)
    flooded = listener(*(f"/{number:0100}" for number in range(50)))
    with pytest.raises(NegotiationError):
        flooded.receive(HEADER + LS * 16_000)
    assert len(flooded.take_output()) <= len(HEADER) + MAX_LISTS * (MAX_MESSAGE + 2)


@pytest.mark.parametrize("limit", [1, 5, MAX_PROPOSALS])
def test_proposals_without_end(limit: int) -> None:
    side = listener("/a", max_proposals=limit)
    side.receive(HEADER + b"\x03/b\n" * limit)
    assert side.take_output() == HEADER + NA * limit
    with pytest.raises(NegotiationError, match="without end"):
        side.receive(b"\x03/a\n")
    assert side.take_output() == b""
    assert side.selected is None


def test_na_is_no_proposal() -> None:
    side = listener("/a")
    with pytest.raises(NegotiationError, match="turn"):
        side.receive(HEADER + NA)


# --- both at once -------------------------------------------------------------------------------


@pytest.mark.parametrize("ours_first", [True, False])
def test_two_dialers_fail_when_they_propose_differently(ours_first: bool) -> None:
    one, two = Dialer(["/a", "/b"]), Dialer(["/b", "/a"])
    for side, data in ((one, two.take_output()), (two, one.take_output()))[
        :: 1 if ours_first else -1
    ]:
        with pytest.raises(NegotiationError):
            side.receive(data)
        assert side.take_output() == b""


def test_two_dialers_agree_when_they_propose_the_same() -> None:
    one, two = Dialer(["/a", "/b"]), Dialer(["/a"])
    hello_one, hello_two = one.take_output() + b"1", two.take_output() + b"2"
    one.receive(hello_two)
    two.receive(hello_one)
    assert (one.selected, one.rest) == ("/a", b"2")
    assert (two.selected, two.rest) == ("/a", b"1")


# --- rubbish (ATTACKS rows 3 to 6, 32) ----------------------------------------------------------

MALFORMED = {
    "zero length": b"\x00",
    "no newline": b"\x02/a",
    "not UTF-8": b"\x04\xff\xfe\xfd\n",
    "overlong varint": b"\xff" * 20,
    "not minimal": b"\x80\x00",
    "too large": b"\x81\x08",  # 1,025
    "claims 1 GiB": b"\x80\x80\x80\x80\x04",
    "claims 2**63 - 1": b"\xff" * 8 + b"\x7f",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("make", [lambda: Dialer(["/x"]), lambda: listener("/x")])
def test_malformed_message(make: Callable[[], Dialer | Listener], data: bytes) -> None:
    side = make()
    side.take_output()
    side.receive(HEADER)
    with pytest.raises(NegotiationError):
        side.receive(data)
    with pytest.raises(NegotiationError):
        side.receive(b"\x03/x\n")
    assert side.selected is None


@pytest.mark.parametrize("data", [*MALFORMED.values(), b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", NA])
@pytest.mark.parametrize("make", [lambda: Dialer(["/x"]), lambda: listener("/x")])
def test_what_does_not_begin_with_the_header(
    make: Callable[[], Dialer | Listener], data: bytes
) -> None:
    """Refused at the first byte that differs, before anything is waited for."""
    side = make()
    side.take_output()
    with pytest.raises(NegotiationError, match="does not speak"):
        side.receive(data[:1])
    assert side.take_output() == b""


def test_another_version_is_refused() -> None:
    side = listener("/a")
    side.receive(HEADER[:14])
    with pytest.raises(NegotiationError, match="does not speak"):
        side.receive(b"2.0.0\n")
